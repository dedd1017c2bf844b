-- Turnout on SQLite, schema 1.
--
-- The story: a *thread* owns one journal. Its *entries* are numbered from 1 without gaps and chained by digest; they
-- are only ever inserted. Everything else here can be made again from them: the thread's own row (head, status, when
-- to look at it next), its *runs* and *reviews* for lists, its *snapshot*. Large or repeated pieces of entries lie in
-- *stored_values* under the digest of their content. *used_keys* makes an input that is sent twice one run. *heads*
-- are signed statements of how far a journal had come.
--
-- Threads have a name (what people use) and a number (what entries are keyed by, because it is short).

CREATE TABLE threads (
    number      INTEGER PRIMARY KEY,
    thread      TEXT NOT NULL UNIQUE,
    graph       TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status      TEXT NOT NULL,
    run         INTEGER NOT NULL,
    head        INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    epoch       INTEGER NOT NULL,
    owner       TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    wake_at     INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    base_thread TEXT,
    base_seq    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A worker looks for what is due; threads that wait for a person aren't in this index at all.
CREATE INDEX threads_due ON threads (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX threads_by_status ON threads (status, thread);
CREATE INDEX threads_by_owner ON threads (owner) WHERE owner <> '';

CREATE TABLE entries (
    number INTEGER NOT NULL REFERENCES threads (number),
    seq    INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    run    INTEGER NOT NULL,
    step   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    body   BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (number, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE stored_values (
    address TEXT PRIMARY KEY,
    body    BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY REFERENCES threads (number),
    seq    INTEGER NOT NULL,
    body   BLOB NOT NULL
) STRICT;

CREATE TABLE runs (
    thread     TEXT NOT NULL,
    run        INTEGER NOT NULL,
    graph      TEXT NOT NULL,
    status     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    end_seq    INTEGER,
    error      TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (thread, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE reviews (
    review    TEXT PRIMARY KEY,
    thread    TEXT NOT NULL,
    run       INTEGER NOT NULL,
    status    TEXT NOT NULL,
    roles     TEXT NOT NULL,
    due_at    INTEGER,
    asked_at  INTEGER NOT NULL,
    closed_at INTEGER,
    about     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX reviews_open ON reviews (due_at, asked_at) WHERE status = 'open';
CREATE INDEX reviews_by_thread ON reviews (thread);

CREATE TABLE used_keys (
    key    TEXT PRIMARY KEY,
    thread TEXT NOT NULL,
    run    INTEGER NOT NULL,
    digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE heads (
    thread    TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    digest    BLOB NOT NULL,
    at        INTEGER NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (thread, seq)
) STRICT, WITHOUT ROWID;
