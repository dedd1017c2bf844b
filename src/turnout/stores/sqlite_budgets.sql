-- name: budgets
SELECT body FROM budgets ORDER BY name

-- name: budgets_set
SELECT name, body FROM budgets

-- name: put_budget
INSERT OR REPLACE INTO budgets (name, body) VALUES (?, ?)

-- name: drop_budget
DELETE FROM budgets WHERE name = ?

-- name: accounts_named
SELECT account, budget, spent_micros, spent_tokens, spent_calls, spent_ms, reserved_micros, reserved_tokens, reserved_calls,
       reserved_ms, topped_micros, topped_tokens, topped_calls, topped_ms, at
FROM budget_accounts WHERE account IN (SELECT value FROM json_each(?))

-- name: accounts
SELECT account, budget, spent_micros, spent_tokens, spent_calls, spent_ms, reserved_micros, reserved_tokens, reserved_calls,
       reserved_ms, topped_micros, topped_tokens, topped_calls, topped_ms, at
FROM budget_accounts ORDER BY at DESC, account LIMIT :limit

-- name: accounts_of_budget
SELECT account, budget, spent_micros, spent_tokens, spent_calls, spent_ms, reserved_micros, reserved_tokens, reserved_calls,
       reserved_ms, topped_micros, topped_tokens, topped_calls, topped_ms, at
FROM budget_accounts WHERE budget = :budget ORDER BY at DESC, account LIMIT :limit

-- name: put_account
INSERT INTO budget_accounts (account, budget, spent_micros, spent_tokens, spent_calls, spent_ms, reserved_micros, reserved_tokens, reserved_calls,
       reserved_ms, topped_micros, topped_tokens, topped_calls, topped_ms, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account) DO UPDATE
SET spent_micros = excluded.spent_micros, spent_tokens = excluded.spent_tokens, spent_calls = excluded.spent_calls, spent_ms = excluded.spent_ms,
    reserved_micros = excluded.reserved_micros, reserved_tokens = excluded.reserved_tokens, reserved_calls = excluded.reserved_calls, reserved_ms = excluded.reserved_ms,
    topped_micros = excluded.topped_micros, topped_tokens = excluded.topped_tokens, topped_calls = excluded.topped_calls, topped_ms = excluded.topped_ms, at = excluded.at

-- name: charge
SELECT thread, seq, run, step, node, branch, graph, tenant, root, kind, name, model, deployment, retry, at, state,
       reserved_micros, reserved_tokens, reserved_calls, reserved_ms, spent_micros, spent_tokens, spent_calls, spent_ms, accounts
FROM budget_charges WHERE thread = ? AND seq = ?

-- name: charges
SELECT thread, seq, run, step, node, branch, graph, tenant, root, kind, name, model, deployment, retry, at, state,
       reserved_micros, reserved_tokens, reserved_calls, reserved_ms, spent_micros, spent_tokens, spent_calls, spent_ms, accounts
FROM budget_charges WHERE thread = ? ORDER BY seq

-- name: put_charge
INSERT INTO budget_charges (thread, seq, run, step, node, branch, graph, tenant, root, kind, name, model, deployment, retry, at, state,
       reserved_micros, reserved_tokens, reserved_calls, reserved_ms, spent_micros, spent_tokens, spent_calls, spent_ms, accounts)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (thread, seq) DO UPDATE
SET model = excluded.model, state = excluded.state, spent_micros = excluded.spent_micros, spent_tokens = excluded.spent_tokens,
    spent_calls = excluded.spent_calls, spent_ms = excluded.spent_ms

-- name: costs
SELECT CASE :by
         WHEN 'graph' THEN graph
         WHEN 'node' THEN graph || ' ' || node
         WHEN 'branch' THEN graph || ' ' || CASE branch WHEN '' THEN 'main' ELSE branch END
         WHEN 'model' THEN CASE WHEN kind <> 'model' THEN kind || ' ' || name WHEN model <> '' THEN model ELSE name END
         WHEN 'tenant' THEN tenant
         WHEN 'retry' THEN CASE WHEN retry THEN 'retries' ELSE 'first attempts' END
         WHEN 'day' THEN date(at / 1000000, 'unixepoch')
         ELSE thread END AS what,
       sum(spent_micros), sum(spent_tokens), sum(spent_calls), sum(spent_ms),
       sum(CASE WHEN state = 'assumed' THEN spent_micros ELSE 0 END), sum(CASE WHEN state = 'assumed' THEN spent_tokens ELSE 0 END),
       sum(CASE WHEN state = 'assumed' THEN spent_calls ELSE 0 END), sum(CASE WHEN state = 'assumed' THEN spent_ms ELSE 0 END),
       sum(CASE WHEN state = 'reserved' THEN reserved_micros ELSE 0 END), sum(CASE WHEN state = 'reserved' THEN reserved_tokens ELSE 0 END),
       sum(CASE WHEN state = 'reserved' THEN reserved_calls ELSE 0 END), sum(CASE WHEN state = 'reserved' THEN reserved_ms ELSE 0 END)
FROM budget_charges
WHERE at >= :since AND (:graph = '' OR graph = :graph) AND (:tenant = '' OR tenant = :tenant)
  AND (:thread = '' OR thread = :thread)
GROUP BY what ORDER BY sum(spent_micros) DESC, sum(spent_calls) DESC, what
