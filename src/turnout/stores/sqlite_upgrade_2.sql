-- From schema 1 to 2: tenants, priorities, limits, threads that are set aside, schedules.

ALTER TABLE threads ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE threads ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE threads ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE threads ADD COLUMN aside TEXT NOT NULL DEFAULT '';

DROP INDEX threads_due;
CREATE INDEX threads_due ON threads (graph, priority DESC, wake_at)
WHERE wake_at IS NOT NULL AND owner = '' AND aside = '';
CREATE INDEX threads_due_of_tenant ON threads (graph, tenant, priority DESC, wake_at)
WHERE wake_at IS NOT NULL AND owner = '' AND aside = '';
CREATE INDEX threads_held ON threads (lease_until, graph, tenant) WHERE owner <> '';
CREATE INDEX threads_aside ON threads (thread) WHERE aside <> '';
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
