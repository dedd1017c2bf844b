// Takes a page's newer version in, in place: what is selected, unfolded and scrolled to stays as it is.

/** Is somebody writing in a form of the page, or reading what is wrong in it? Then nothing is taken from under their hands. */
export function writing() {
  const at = document.activeElement;
  return Boolean(at && at.closest("#page form") && at.matches("input, textarea, select, [role=alert]"));
}

/** Fetch `address` and put its page in the place of this one. False when that can't be done. */
export async function swap(address) {
  const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok || answer.redirected) return false;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#page");
  const old = document.querySelector("#page");
  if (!fresh || !old) return false;
  const unfolded = [...old.querySelectorAll("details")].map((one) => one.open);
  const places = [...old.querySelectorAll(".drawing, .journal, .entry")].map((one) => [one.scrollLeft, one.scrollTop]);
  const focused = document.activeElement?.closest?.("a[data-entry]");
  const list = focused?.closest("ol, nav")?.className;
  old.replaceWith(fresh);
  [...fresh.querySelectorAll("details")].forEach((one, n) => { one.open = one.open || Boolean(unfolded[n]); });
  [...fresh.querySelectorAll(".drawing, .journal, .entry")].forEach((one, n) => {
    if (places[n]) [one.scrollLeft, one.scrollTop] = places[n];
  });
  if (focused) {
    const same = [...fresh.querySelectorAll(`a[data-entry="${CSS.escape(focused.dataset.entry)}"]`)];
    (same.find((one) => one.closest("ol, nav")?.className === list) || same[0] || fresh.querySelector("#entry"))?.focus({ preventScroll: true });
  }
  return true;
}
