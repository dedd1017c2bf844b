"""A list that grows is stored in segments, each naming the one before: all of them must be found again."""

from __future__ import annotations

from turnout.core import canon, pack


def test_every_segment_of_a_list_of_short_strings_is_found_from_its_last_one() -> None:
    known: set[str] = set()
    stored: dict[str, bytes] = {}
    body = b""
    whole: list[str] = []
    for n in range(12, 18):
        whole = [f"{i:03}" + "x" * 100 for i in range(n)]
        body, values = pack.pack(canon.encode({"reads": {"notes": whole}}), known)
        stored.update(values)
    found: dict[str, bytes] = {}
    wanted = pack.addresses(body)
    while wanted:  # what the journal does: fetch what is named, then what that names
        new = {address: stored[address] for address in wanted}
        found.update(new)
        wanted = {a for data in new.values() for a in pack.addresses(data)} - found.keys()
    assert canon.decode(pack.unpack(body, found.__getitem__)) == {"reads": {"notes": whole}}
