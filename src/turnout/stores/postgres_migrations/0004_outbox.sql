-- The outbox: what people and other systems are to be told of an entry. Its rows are written with that entry, sent by
-- any worker, and forgotten some time after that.

CREATE TABLE turnout.outbox (
    id         text COLLATE "C" NOT NULL,
    channel    text COLLATE "C" NOT NULL,
    event      text NOT NULL,
    thread     text COLLATE "C" NOT NULL,
    run        bigint NOT NULL,
    review     text COLLATE "C" NOT NULL,
    tenant     text COLLATE "C" NOT NULL,
    facts      bytea NOT NULL,
    first_due  bigint NOT NULL,
    created_at bigint NOT NULL,
    due_at     bigint NOT NULL,
    status     text NOT NULL DEFAULT 'waiting',
    attempts   bigint NOT NULL DEFAULT 0,
    owner      text NOT NULL DEFAULT '',
    held_until bigint NOT NULL DEFAULT 0,
    settled_at bigint,
    error      text NOT NULL DEFAULT '',
    PRIMARY KEY (thread, id)
);

CREATE INDEX outbox_by_id ON turnout.outbox (id);
CREATE INDEX outbox_due ON turnout.outbox (channel, due_at) WHERE status = 'waiting';
CREATE INDEX outbox_of_review ON turnout.outbox (review) WHERE status = 'waiting' AND review <> '';
CREATE INDEX outbox_by_age ON turnout.outbox (created_at DESC, id);
CREATE INDEX outbox_dead ON turnout.outbox (created_at, id) WHERE status = 'dead';
CREATE INDEX outbox_settled ON turnout.outbox (settled_at) WHERE settled_at IS NOT NULL;
