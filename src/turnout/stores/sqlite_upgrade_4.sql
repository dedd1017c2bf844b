-- From schema 3 to 4: tokens and sessions; what a tenant lists is found by the tenant.

CREATE INDEX threads_by_tenant ON threads (tenant, thread);

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
