-- name: budgets
SELECT body FROM turnout.budgets ORDER BY name

-- name: budgets_set
SELECT name, body FROM turnout.budgets

-- name: put_budget
INSERT INTO turnout.budgets (name, body) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET body = excluded.body

-- name: drop_budget
DELETE FROM turnout.budgets WHERE name = $1
RETURNING name

-- Accounts are made, then locked for the rest of the transaction, both in the order of their names and before any thread:
-- so two who book in the same accounts follow one another, and never wait for each other in a circle.
-- name: make_accounts
INSERT INTO turnout.accounts (account, budget, spent_micros, spent_tokens, spent_calls, spent_ms, reserved_micros, reserved_tokens, reserved_calls,
       reserved_ms, topped_micros, topped_tokens, topped_calls, topped_ms, at)
SELECT g.account, g.budget, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
FROM unnest($1::text[], $2::text[]) AS g (account, budget) ORDER BY g.account
ON CONFLICT (account) DO NOTHING

-- name: lock_accounts
SELECT account, budget, spent_micros, spent_tokens, spent_calls, spent_ms, reserved_micros, reserved_tokens, reserved_calls,
       reserved_ms, topped_micros, topped_tokens, topped_calls, topped_ms, at
FROM turnout.accounts WHERE account = ANY($1::text[]) ORDER BY account FOR NO KEY UPDATE

-- name: accounts
SELECT account, budget, spent_micros, spent_tokens, spent_calls, spent_ms, reserved_micros, reserved_tokens, reserved_calls,
       reserved_ms, topped_micros, topped_tokens, topped_calls, topped_ms, at
FROM turnout.accounts WHERE $1 = '' OR budget = $1 ORDER BY at DESC, account LIMIT $2

-- name: put_accounts
INSERT INTO turnout.accounts (account, budget, spent_micros, spent_tokens, spent_calls, spent_ms, reserved_micros, reserved_tokens, reserved_calls,
       reserved_ms, topped_micros, topped_tokens, topped_calls, topped_ms, at)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[],
            $14::bigint[], $15::bigint[])
ON CONFLICT (account) DO UPDATE
SET spent_micros = excluded.spent_micros, spent_tokens = excluded.spent_tokens, spent_calls = excluded.spent_calls, spent_ms = excluded.spent_ms,
    reserved_micros = excluded.reserved_micros, reserved_tokens = excluded.reserved_tokens, reserved_calls = excluded.reserved_calls, reserved_ms = excluded.reserved_ms,
    topped_micros = excluded.topped_micros, topped_tokens = excluded.topped_tokens, topped_calls = excluded.topped_calls, topped_ms = excluded.topped_ms, at = excluded.at

-- name: charges_named
SELECT thread, seq, run, step, node, branch, graph, tenant, root, kind, name, model, deployment, retry, at, state,
       reserved_micros, reserved_tokens, reserved_calls, reserved_ms, spent_micros, spent_tokens, spent_calls, spent_ms, accounts
FROM turnout.charges JOIN unnest($1::text[], $2::bigint[]) AS g (thread, seq) USING (thread, seq)

-- name: charges
SELECT thread, seq, run, step, node, branch, graph, tenant, root, kind, name, model, deployment, retry, at, state,
       reserved_micros, reserved_tokens, reserved_calls, reserved_ms, spent_micros, spent_tokens, spent_calls, spent_ms, accounts
FROM turnout.charges WHERE thread = $1 ORDER BY seq

-- name: put_charges
INSERT INTO turnout.charges (thread, seq, run, step, node, branch, graph, tenant, root, kind, name, model, deployment, retry, at, state,
       reserved_micros, reserved_tokens, reserved_calls, reserved_ms, spent_micros, spent_tokens, spent_calls, spent_ms, accounts)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::boolean[],
            $15::bigint[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[],
            $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::text[])
ON CONFLICT (thread, seq) DO UPDATE
SET model = excluded.model, state = excluded.state, spent_micros = excluded.spent_micros, spent_tokens = excluded.spent_tokens,
    spent_calls = excluded.spent_calls, spent_ms = excluded.spent_ms

-- name: costs
SELECT CASE $1
         WHEN 'graph' THEN graph
         WHEN 'node' THEN graph || ' ' || node
         WHEN 'branch' THEN graph || ' ' || CASE branch WHEN '' THEN 'main' ELSE branch END
         WHEN 'model' THEN CASE WHEN kind <> 'model' THEN kind || ' ' || name WHEN model <> '' THEN model ELSE name END
         WHEN 'tenant' THEN tenant
         WHEN 'retry' THEN CASE WHEN retry THEN 'retries' ELSE 'first attempts' END
         WHEN 'day' THEN to_char(to_timestamp(at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')
         ELSE thread END AS what,
       sum(spent_micros), sum(spent_tokens), sum(spent_calls), sum(spent_ms),
       sum(spent_micros) FILTER (WHERE state = 'assumed'), sum(spent_tokens) FILTER (WHERE state = 'assumed'),
       sum(spent_calls) FILTER (WHERE state = 'assumed'), sum(spent_ms) FILTER (WHERE state = 'assumed'),
       sum(reserved_micros) FILTER (WHERE state = 'reserved'), sum(reserved_tokens) FILTER (WHERE state = 'reserved'),
       sum(reserved_calls) FILTER (WHERE state = 'reserved'), sum(reserved_ms) FILTER (WHERE state = 'reserved')
FROM turnout.charges
WHERE at >= $2 AND ($3 = '' OR graph = $3) AND ($4 = '' OR tenant = $4) AND ($5 = '' OR thread = $5)
GROUP BY what ORDER BY sum(spent_micros) DESC, sum(spent_calls) DESC, what
