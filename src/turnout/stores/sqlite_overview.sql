-- What pages show of many threads at once. None of it reads a whole journal.

-- name: latest
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM threads
WHERE (created_at, thread) < (:at, :before) AND (:graph = '' OR graph = :graph) AND (:status = '' OR status = :status)
  AND (:tenant = '' OR tenant = :tenant) AND (:search = '' OR instr(lower(thread), lower(:search)) > 0)
  AND (aside <> '' OR NOT :aside)
ORDER BY created_at DESC, thread DESC LIMIT :limit

-- name: tally
SELECT graph, fingerprint, status, aside <> '', count(*) FROM threads
WHERE (:graph = '' OR graph = :graph) AND (:search = '' OR instr(thread, :search) > 0)
  AND (:tenant = '' OR tenant = :tenant)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4

-- A step's id begins with its node's name, up to the point. Threads are numbered in the order in which they were made.
-- name: nodes
SELECT node, count(DISTINCT step), count(DISTINCT CASE WHEN kind = 'step.failed' THEN step END),
       count(DISTINCT CASE WHEN kind NOT LIKE 'step.%' THEN step END)
FROM (SELECT substr(e.step, 1, instr(e.step, '.') - 1) AS node, e.kind, e.number || ' ' || e.run || ' ' || e.step AS step
      FROM (SELECT number FROM threads WHERE graph = :graph ORDER BY number DESC LIMIT :sample) t
      JOIN entries e ON e.number = t.number
      WHERE e.kind IN ('step.finished', 'step.failed', 'step.cancelled', 'review.requested', 'signal.awaited', 'timer.set',
                       'child.started'))
WHERE node <> '' GROUP BY node ORDER BY node

-- name: open_reviews
SELECT count(*) FROM (SELECT 1 FROM reviews WHERE status = 'open' LIMIT ?)

-- name: closed_reviews
SELECT review, thread, run, status, roles, due_at, asked_at, closed_at, about FROM reviews
WHERE status <> 'open' ORDER BY closed_at DESC, review LIMIT ?
