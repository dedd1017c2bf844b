-- Turnout on Postgres, schema 1: everything lies in the Postgres schema `turnout`.
--
-- The story: a *thread* owns one journal. Its *entries* are numbered from 1 without gaps and chained by digest; they
-- are only ever inserted. Everything else here can be made again from them: the thread's own row (head, status, when
-- to look at it next), its *runs* and *reviews* for lists, its *snapshot*. Large or repeated pieces of entries lie in
-- *stored_values* under the digest of their content. *used_keys* makes an input that is sent twice one run. *heads*
-- are signed statements of how far a journal had come. *limits* say how many threads of a graph or a tenant may be held
-- at once, and *schedules* what is started when.
--
-- Every table of a thread is keyed by the thread's name first, so that all of a thread lies on one shard when there are
-- shards (docs/adr/0024-postgres.md). Times are microseconds since 1970. Bodies are bytes, because digests are over
-- bytes; where people will want to query them there is jsonb beside them: `reviews.asked` and the view `journal`.

CREATE TABLE turnout.threads (
    thread      text COLLATE "C" PRIMARY KEY,
    graph       text COLLATE "C" NOT NULL,
    fingerprint text NOT NULL,
    status      text NOT NULL,
    run         bigint NOT NULL,
    head        bigint NOT NULL,
    digest      bytea NOT NULL,
    epoch       bigint NOT NULL,
    owner       text NOT NULL DEFAULT '',
    lease_until bigint NOT NULL DEFAULT 0,
    wake_at     bigint,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,
    base_thread text COLLATE "C",
    base_seq    bigint NOT NULL DEFAULT 0,
    tenant      text COLLATE "C" NOT NULL DEFAULT '',
    priority    bigint NOT NULL DEFAULT 0,
    tries       bigint NOT NULL DEFAULT 0,
    aside       text NOT NULL DEFAULT ''
) WITH (fillfactor = 70); -- room for the usual step's update beside the old row: no index is touched then

-- What a worker looks for lies in these four; a thread that waits for a person, or is set aside, is in none of them. The
-- number of priorities and tenants is small beside that of threads: a claim hops from one to the next (see `due`).
CREATE INDEX threads_due ON turnout.threads (graph, (-priority), wake_at)
    WHERE wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2;
CREATE INDEX threads_due_by_tenant ON turnout.threads (graph, tenant, (-priority), wake_at)
    WHERE wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2;
CREATE INDEX threads_suspect ON turnout.threads (wake_at)
    WHERE wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries >= 2;
CREATE INDEX threads_held ON turnout.threads (lease_until) WHERE owner <> '';

-- The lanes: every graph and priority that has a thread which is due, or will be. Found by hopping from one to the next.
CREATE VIEW turnout.lanes AS
WITH RECURSIVE found AS (
    (SELECT graph, -priority AS rank FROM turnout.threads
     WHERE wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2
     ORDER BY graph, -priority LIMIT 1)
    UNION ALL
    SELECT next.graph, next.rank FROM found CROSS JOIN LATERAL (
        SELECT graph, -priority AS rank FROM turnout.threads
        WHERE wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2
          AND (graph, -priority) > (found.graph, found.rank)
        ORDER BY graph, -priority LIMIT 1) next)
SELECT graph, rank FROM found;

-- What people list.
CREATE INDEX threads_by_status ON turnout.threads (status, thread);
CREATE INDEX threads_by_graph ON turnout.threads (graph, thread);
CREATE INDEX threads_by_tenant ON turnout.threads (tenant, thread) WHERE tenant <> '';
CREATE INDEX threads_by_owner ON turnout.threads (owner, thread) WHERE owner <> '';
CREATE INDEX threads_aside ON turnout.threads (thread) WHERE aside <> '';

CREATE TABLE turnout.entries (
    thread text COLLATE "C" NOT NULL,
    seq    bigint NOT NULL,
    kind   text NOT NULL,
    run    bigint NOT NULL,
    step   text NOT NULL,
    at     bigint NOT NULL,
    epoch  bigint NOT NULL,
    body   bytea NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (thread, seq)
);

CREATE TABLE turnout.stored_values (
    address text COLLATE "C" PRIMARY KEY,
    body    bytea NOT NULL
);

CREATE TABLE turnout.snapshots (
    thread text COLLATE "C" PRIMARY KEY,
    seq    bigint NOT NULL,
    body   bytea NOT NULL
);

CREATE TABLE turnout.runs (
    thread     text COLLATE "C" NOT NULL,
    run        bigint NOT NULL,
    graph      text NOT NULL,
    status     text NOT NULL,
    started_at bigint NOT NULL,
    ended_at   bigint,
    end_seq    bigint,
    error      text NOT NULL DEFAULT '',
    PRIMARY KEY (thread, run)
);

-- Bytes as jsonb, for queries; NULL where they aren't JSON that jsonb can hold (encrypted, or with a NUL in a text).
CREATE FUNCTION turnout.json_of(data bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(data, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    RETURN NULL;
END
$$;

CREATE TABLE turnout.reviews (
    review    text COLLATE "C" PRIMARY KEY,
    thread    text COLLATE "C" NOT NULL,
    run       bigint NOT NULL,
    status    text NOT NULL,
    roles     text NOT NULL,
    due_at    bigint,
    asked_at  bigint NOT NULL,
    closed_at bigint,
    about     bytea NOT NULL,
    asked     jsonb GENERATED ALWAYS AS (turnout.json_of(about)) STORED
);

CREATE INDEX reviews_open ON turnout.reviews (due_at, asked_at, review) WHERE status = 'open';
CREATE INDEX reviews_by_thread ON turnout.reviews (thread);
CREATE INDEX reviews_asked ON turnout.reviews USING gin (asked jsonb_path_ops);

CREATE TABLE turnout.used_keys (
    key    text COLLATE "C" PRIMARY KEY,
    thread text COLLATE "C" NOT NULL,
    run    bigint NOT NULL,
    digest text NOT NULL
);

CREATE INDEX used_keys_by_thread ON turnout.used_keys (thread);

CREATE TABLE turnout.heads (
    thread    text COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,
    digest    bytea NOT NULL,
    at        bigint NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (thread, seq)
);

CREATE TABLE turnout.limits (
    kind    text NOT NULL,
    name    text COLLATE "C" NOT NULL,
    at_once bigint NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE TABLE turnout.schedules (
    name        text COLLATE "C" PRIMARY KEY,
    graph       text NOT NULL,
    input       bytea NOT NULL,
    cron        text NOT NULL,
    zone        text NOT NULL,
    at          bigint,
    missed      text NOT NULL,
    overlap     text NOT NULL,
    paused      boolean NOT NULL,
    next_at     bigint,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,
    last_at     bigint,
    last_thread text NOT NULL,
    note        text NOT NULL,
    by          text NOT NULL,
    tenant      text NOT NULL,
    priority    bigint NOT NULL
);

CREATE INDEX schedules_due ON turnout.schedules (next_at) WHERE next_at IS NOT NULL AND NOT paused;

-- For people with a SQL prompt: the journal as rows with jsonb. A large value that is stored by content shows as its
-- address; see docs/how-to/18-postgres.md.
CREATE VIEW turnout.journal AS
SELECT thread, seq, kind, run, step, to_timestamp(at / 1e6) AS at, epoch, turnout.json_of(body) AS body
FROM turnout.entries;
