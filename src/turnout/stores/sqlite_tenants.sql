-- What a tenant sees, as views that are found before the tables of their names: on a connection that has them, every
-- query is the tenant's, however it is written. A table that isn't in here is empty there.

-- name: threads
SELECT * FROM main.threads WHERE tenant = caller_tenant()

-- name: entries
SELECT * FROM main.entries e
WHERE EXISTS (SELECT 1 FROM main.threads t WHERE t.number = e.number AND t.tenant = caller_tenant())

-- name: snapshots
SELECT * FROM main.snapshots s
WHERE EXISTS (SELECT 1 FROM main.threads t WHERE t.number = s.number AND t.tenant = caller_tenant())

-- name: runs
SELECT * FROM main.runs r
WHERE EXISTS (SELECT 1 FROM main.threads t WHERE t.thread = r.thread AND t.tenant = caller_tenant())

-- name: reviews
SELECT * FROM main.reviews r
WHERE EXISTS (SELECT 1 FROM main.threads t WHERE t.thread = r.thread AND t.tenant = caller_tenant())

-- name: used_keys
SELECT * FROM main.used_keys k
WHERE EXISTS (SELECT 1 FROM main.threads t WHERE t.thread = k.thread AND t.tenant = caller_tenant())

-- name: heads
SELECT * FROM main.heads h
WHERE EXISTS (SELECT 1 FROM main.threads t WHERE t.thread = h.thread AND t.tenant = caller_tenant())

-- The address of a value is the digest of its content: who can name it has it.
-- name: stored_values
SELECT * FROM main.stored_values

-- Graphs are everybody's.
-- name: limits
SELECT * FROM main.limits WHERE kind = 'graph' OR (kind = 'tenant' AND name = caller_tenant())

-- name: schedules
SELECT * FROM main.schedules WHERE tenant = caller_tenant()

-- name: turnout_tokens
SELECT * FROM main.turnout_tokens WHERE tenant = caller_tenant()

-- name: budget_charges
SELECT * FROM main.budget_charges WHERE tenant = caller_tenant()

-- name: turnout_outbox
SELECT * FROM main.turnout_outbox WHERE tenant = caller_tenant()

-- Budgets are the house's; so are their accounts, most of which count the calls of several tenants.
-- name: budgets
SELECT * FROM main.budgets WHERE 0

-- name: budget_accounts
SELECT * FROM main.budget_accounts WHERE 0
