-- Budgets: caps on what calls may cost, each with an account for every run, tenant, day and so on that it counts. Charges
-- are the calls, one a row. Accounts and charges can be made again from the entries.

CREATE TABLE turnout.budgets (
    name text COLLATE "C" PRIMARY KEY,
    body bytea NOT NULL
);

CREATE TABLE turnout.accounts (
    account         text COLLATE "C" PRIMARY KEY,
    budget          text NOT NULL,
    spent_micros    bigint NOT NULL,
    spent_tokens    bigint NOT NULL,
    spent_calls     bigint NOT NULL,
    spent_ms        bigint NOT NULL,
    reserved_micros bigint NOT NULL,
    reserved_tokens bigint NOT NULL,
    reserved_calls  bigint NOT NULL,
    reserved_ms     bigint NOT NULL,
    topped_micros   bigint NOT NULL,
    topped_tokens   bigint NOT NULL,
    topped_calls    bigint NOT NULL,
    topped_ms       bigint NOT NULL,
    at              bigint NOT NULL
);

CREATE INDEX accounts_by_budget ON turnout.accounts (budget, at DESC);
CREATE INDEX accounts_by_time ON turnout.accounts (at DESC);

CREATE TABLE turnout.charges (
    thread          text COLLATE "C" NOT NULL,
    seq             bigint NOT NULL,
    run             bigint NOT NULL,
    step            text NOT NULL,
    node            text NOT NULL,
    branch          text NOT NULL,
    graph           text NOT NULL,
    tenant          text NOT NULL,
    root            text NOT NULL,
    kind            text NOT NULL,
    name            text COLLATE "C" NOT NULL,
    model           text NOT NULL,
    deployment      text NOT NULL,
    retry           boolean NOT NULL,
    at              bigint NOT NULL,
    state           text NOT NULL,
    reserved_micros bigint NOT NULL,
    reserved_tokens bigint NOT NULL,
    reserved_calls  bigint NOT NULL,
    reserved_ms     bigint NOT NULL,
    spent_micros    bigint NOT NULL,
    spent_tokens    bigint NOT NULL,
    spent_calls     bigint NOT NULL,
    spent_ms        bigint NOT NULL,
    accounts        text NOT NULL,
    PRIMARY KEY (thread, seq)
);

CREATE INDEX charges_by_time ON turnout.charges (at);
