-- From schema 4 to 5: the outbox.

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
