-- Who may write: what is claimed, who is set aside, and the limits. None of it looks at threads that wait.
--
-- A *level* is a priority at which threads of a graph are due or will be: from the highest one the next is one step in
-- the index, so a claim goes from level to level and takes the first few of each, however many are behind them.

-- name: due
WITH RECURSIVE levels (graph, priority) AS (
    SELECT g.value, (SELECT d.priority FROM threads d
                     WHERE d.graph = g.value AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = ''
                     ORDER BY d.priority DESC LIMIT 1)
    FROM json_each(:graphs) g
    UNION ALL
    SELECT l.graph, (SELECT d.priority FROM threads d
                     WHERE d.graph = l.graph AND d.priority < l.priority
                       AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = ''
                     ORDER BY d.priority DESC LIMIT 1)
    FROM levels l WHERE l.priority IS NOT NULL
)
SELECT t.thread, t.graph, t.tenant, t.priority, t.wake_at, t.epoch, t.owner, t.lease_until, t.tries
FROM levels l JOIN threads t ON t.number IN (
    SELECT d.number FROM threads d
    WHERE d.graph = l.graph AND d.priority = l.priority AND d.wake_at <= :now AND d.owner = '' AND d.aside = ''
    ORDER BY d.wake_at LIMIT :limit)
ORDER BY t.priority DESC, t.wake_at LIMIT :limit

-- The same, the first few of each tenant: what stands behind the many threads of one that has no room. It costs more
-- the more tenants there are, so it is asked only then.
-- name: due_by_tenant
WITH RECURSIVE lanes (graph, tenant) AS (
    SELECT g.value, (SELECT min(d.tenant) FROM threads d
                     WHERE d.graph = g.value AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = '')
    FROM json_each(:graphs) g
    UNION ALL
    SELECT n.graph, (SELECT min(d.tenant) FROM threads d
                     WHERE d.graph = n.graph AND d.tenant > n.tenant
                       AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = '')
    FROM lanes n WHERE n.tenant IS NOT NULL
), levels (graph, tenant, priority) AS (
    SELECT n.graph, n.tenant, (SELECT d.priority FROM threads d
                               WHERE d.graph = n.graph AND d.tenant = n.tenant
                                 AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = ''
                               ORDER BY d.priority DESC LIMIT 1)
    FROM lanes n WHERE n.tenant IS NOT NULL AND n.tenant NOT IN (SELECT value FROM json_each(:full))
    UNION ALL
    SELECT l.graph, l.tenant, (SELECT d.priority FROM threads d
                               WHERE d.graph = l.graph AND d.tenant = l.tenant AND d.priority < l.priority
                                 AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = ''
                               ORDER BY d.priority DESC LIMIT 1)
    FROM levels l WHERE l.priority IS NOT NULL
)
SELECT t.thread, t.graph, t.tenant, t.priority, t.wake_at, t.epoch, t.owner, t.lease_until, t.tries
FROM levels l JOIN threads t ON t.number IN (
    SELECT d.number FROM threads d
    WHERE d.graph = l.graph AND d.tenant = l.tenant AND d.priority = l.priority AND d.wake_at <= :now
      AND d.owner = '' AND d.aside = ''
    ORDER BY d.wake_at LIMIT :limit)

-- name: due_graphs
WITH RECURSIVE found (graph) AS (
    SELECT min(graph) FROM threads WHERE wake_at IS NOT NULL AND owner = '' AND aside = ''
    UNION ALL
    SELECT (SELECT min(d.graph) FROM threads d
            WHERE d.graph > f.graph AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = '')
    FROM found f WHERE f.graph IS NOT NULL
)
SELECT graph FROM found WHERE graph IS NOT NULL

-- Those whose worker is silent: never more than the workers that died had held.
-- name: run_out
SELECT thread, graph, tenant, priority, wake_at, epoch, owner, lease_until, tries FROM threads
WHERE owner <> '' AND lease_until < :now AND wake_at <= :now
  AND (:graphs IS NULL OR graph IN (SELECT value FROM json_each(:graphs)))

-- name: due_one
SELECT thread, graph, tenant, priority, wake_at, epoch, owner, lease_until, tries FROM threads
WHERE thread = :thread AND lease_until < :now AND wake_at <= :now AND aside = ''
  AND (:graphs IS NULL OR graph IN (SELECT value FROM json_each(:graphs)))

-- A lease that had run out may have been renewed since the plan was made.
-- name: take
UPDATE threads
SET epoch = epoch + 1, owner = :worker, lease_until = :until, wake_at = max(wake_at, 1), tries = :tries
WHERE thread = :thread AND epoch = :epoch AND lease_until < :now

-- name: give_up
UPDATE threads
SET epoch = epoch + 1, owner = '', lease_until = 0, wake_at = NULL, tries = :tries, aside = :reason
WHERE thread = :thread AND epoch = :epoch AND lease_until < :now

-- name: held
SELECT graph, tenant, count(*) FROM threads WHERE owner <> '' AND lease_until >= :now GROUP BY graph, tenant

-- name: count_due
WITH RECURSIVE levels (graph, priority) AS (
    SELECT g.value, (SELECT d.priority FROM threads d
                     WHERE d.graph = g.value AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = ''
                     ORDER BY d.priority DESC LIMIT 1)
    FROM json_each(:graphs) g
    UNION ALL
    SELECT l.graph, (SELECT d.priority FROM threads d
                     WHERE d.graph = l.graph AND d.priority < l.priority
                       AND d.wake_at IS NOT NULL AND d.owner = '' AND d.aside = ''
                     ORDER BY d.priority DESC LIMIT 1)
    FROM levels l WHERE l.priority IS NOT NULL
)
SELECT count(*) FROM (
    SELECT 1 FROM levels l JOIN threads d ON d.graph = l.graph AND d.priority = l.priority
    WHERE d.wake_at <= :now AND d.owner = '' AND d.aside = '' LIMIT :limit)

-- name: count_held
SELECT count(*) FROM (
    SELECT 1 FROM threads
    WHERE owner <> '' AND wake_at <= :now AND (:held OR lease_until < :now)
      AND (:graphs IS NULL OR graph IN (SELECT value FROM json_each(:graphs)))
    LIMIT :limit)

-- name: set_aside
UPDATE threads SET epoch = epoch + 1, owner = '', lease_until = 0, wake_at = NULL, aside = :reason
WHERE thread = :thread AND aside = ''

-- name: take_back
UPDATE threads SET aside = '', tries = 0, wake_at = :at WHERE thread = :thread AND aside <> ''

-- name: limits
SELECT kind, name, at_once FROM limits ORDER BY kind, name

-- name: put_limit
INSERT OR REPLACE INTO limits (kind, name, at_once) VALUES (:kind, :name, :at_once)

-- name: drop_limit
DELETE FROM limits WHERE kind = :kind AND name = :name
