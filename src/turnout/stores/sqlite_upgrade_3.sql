-- From schema 2 to 3: budgets, their accounts, and what calls have cost.

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
