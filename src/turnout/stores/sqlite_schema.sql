-- Turnout on SQLite, schema 5.
--
-- The story: a *thread* owns one journal. Its *entries* are numbered from 1 without gaps and chained by digest; they
-- are only ever inserted. Everything else here can be made again from them: the thread's own row (head, status, when
-- to look at it next), its *runs* and *reviews* for lists, its *snapshot*. Large or repeated pieces of entries lie in
-- *stored_values* under the digest of their content. *used_keys* makes an input that is sent twice one run. *heads*
-- are signed statements of how far a journal had come. *limits* say how many threads of a graph or a tenant may be held
-- at once, and *schedules* what is started when. The *outbox* holds what people and other systems are to be told of an
-- entry; it is written with that entry. *budgets* are caps on what calls may cost, each with an account for every run,
-- tenant, day and so on that it counts; *charges* are the calls, one a row: they and the accounts can be made again from
-- the entries, too. *tokens* are what people and programs sign in with.
--
-- Transactional tools have tables of their own in the same file: what others may have a table of (accounts, charges, tokens,
-- an outbox) has a longer name here.
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
    base_seq    INTEGER NOT NULL DEFAULT 0,
    tenant      TEXT NOT NULL DEFAULT '',
    priority    INTEGER NOT NULL DEFAULT 0,
    tries       INTEGER NOT NULL DEFAULT 0,
    aside       TEXT NOT NULL DEFAULT ''
) STRICT;

-- A worker looks for what is due; threads that wait for a person, or are set aside, aren't in these indexes at all.
CREATE INDEX threads_due ON threads (graph, priority DESC, wake_at)
WHERE wake_at IS NOT NULL AND owner = '' AND aside = '';
CREATE INDEX threads_due_of_tenant ON threads (graph, tenant, priority DESC, wake_at)
WHERE wake_at IS NOT NULL AND owner = '' AND aside = '';
CREATE INDEX threads_held ON threads (lease_until, graph, tenant) WHERE owner <> '';
CREATE INDEX threads_aside ON threads (thread) WHERE aside <> '';
CREATE INDEX threads_by_status ON threads (status, thread);
CREATE INDEX threads_by_owner ON threads (owner) WHERE owner <> '';
CREATE INDEX threads_by_tenant ON threads (tenant, thread);

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

CREATE INDEX used_keys_by_thread ON used_keys (thread);

CREATE TABLE limits (
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    at_once INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (
    name        TEXT PRIMARY KEY,
    graph       TEXT NOT NULL,
    input       BLOB NOT NULL,
    cron        TEXT NOT NULL,
    zone        TEXT NOT NULL,
    at          INTEGER,
    missed      TEXT NOT NULL,
    overlap     TEXT NOT NULL,
    paused      INTEGER NOT NULL,
    next_at     INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    last_at     INTEGER,
    last_thread TEXT NOT NULL,
    note        TEXT NOT NULL,
    by          TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    priority    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL AND paused = 0;

CREATE TABLE budgets (
    name TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE budget_accounts (
    account         TEXT PRIMARY KEY,
    budget          TEXT NOT NULL,
    spent_micros    INTEGER NOT NULL,
    spent_tokens    INTEGER NOT NULL,
    spent_calls     INTEGER NOT NULL,
    spent_ms        INTEGER NOT NULL,
    reserved_micros INTEGER NOT NULL,
    reserved_tokens INTEGER NOT NULL,
    reserved_calls  INTEGER NOT NULL,
    reserved_ms     INTEGER NOT NULL,
    topped_micros   INTEGER NOT NULL,
    topped_tokens   INTEGER NOT NULL,
    topped_calls    INTEGER NOT NULL,
    topped_ms       INTEGER NOT NULL,
    at              INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX accounts_by_budget ON budget_accounts (budget, at DESC);
CREATE INDEX accounts_by_time ON budget_accounts (at DESC);

CREATE TABLE budget_charges (
    thread          TEXT NOT NULL,
    seq             INTEGER NOT NULL,
    run             INTEGER NOT NULL,
    step            TEXT NOT NULL,
    node            TEXT NOT NULL,
    branch          TEXT NOT NULL,
    graph           TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    root            TEXT NOT NULL,
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    model           TEXT NOT NULL,
    deployment      TEXT NOT NULL,
    retry           INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    state           TEXT NOT NULL,
    reserved_micros INTEGER NOT NULL,
    reserved_tokens INTEGER NOT NULL,
    reserved_calls  INTEGER NOT NULL,
    reserved_ms     INTEGER NOT NULL,
    spent_micros    INTEGER NOT NULL,
    spent_tokens    INTEGER NOT NULL,
    spent_calls     INTEGER NOT NULL,
    spent_ms        INTEGER NOT NULL,
    accounts        TEXT NOT NULL,
    PRIMARY KEY (thread, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX charges_by_time ON budget_charges (at);

CREATE TABLE turnout_tokens (
    token        TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,
    digest       BLOB NOT NULL,
    who          TEXT NOT NULL,
    roles        TEXT NOT NULL,
    review_roles TEXT NOT NULL,
    tenant       TEXT,
    how          TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    parent       TEXT NOT NULL,
    by           TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_by_age ON turnout_tokens (kind, created_at);

CREATE TABLE turnout_outbox (
    id         TEXT PRIMARY KEY,
    channel    TEXT NOT NULL,
    event      TEXT NOT NULL,
    thread     TEXT NOT NULL,
    run        INTEGER NOT NULL,
    review     TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    facts      BLOB NOT NULL,
    first_due  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    status     TEXT NOT NULL DEFAULT 'waiting',
    attempts   INTEGER NOT NULL DEFAULT 0,
    owner      TEXT NOT NULL DEFAULT '',
    held_until INTEGER NOT NULL DEFAULT 0,
    settled_at INTEGER,
    error      TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_due ON turnout_outbox (channel, due_at) WHERE status = 'waiting';
CREATE INDEX outbox_of_review ON turnout_outbox (review) WHERE status = 'waiting' AND review <> '';
CREATE INDEX outbox_by_age ON turnout_outbox (created_at, id);
CREATE INDEX outbox_settled ON turnout_outbox (settled_at) WHERE settled_at IS NOT NULL;
