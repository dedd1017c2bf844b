-- name: open_thread
INSERT INTO threads (thread, graph, fingerprint, status, run, head, digest, epoch, wake_at, created_at, updated_at,
                     base_thread, base_seq, tenant, priority)
VALUES (:thread, :graph, :fingerprint, :status, :run, :new_head, :digest, :epoch, :wake_at, :at, :at, :base_thread, :base_seq,
        :tenant, :priority)
ON CONFLICT (thread) DO NOTHING

-- name: advance_head
UPDATE threads
SET head = :new_head, digest = :digest, updated_at = :at, tries = CASE WHEN :progress THEN 0 ELSE tries END
WHERE thread = :thread AND head = :head AND epoch = :epoch

-- name: move_head
UPDATE threads
SET head = :new_head, digest = :digest, status = :status, run = :run, fingerprint = :fingerprint, updated_at = :at,
    priority = :priority, tries = CASE WHEN :progress THEN 0 ELSE tries END
WHERE thread = :thread AND head = :head AND epoch = :epoch

-- name: move_head_and_wake
UPDATE threads
SET head = :new_head, digest = :digest, status = :status, run = :run, fingerprint = :fingerprint, updated_at = :at,
    priority = :priority, tries = CASE WHEN :progress THEN 0 ELSE tries END,
    wake_at = CASE WHEN wake_at = 0 THEN 0 ELSE :wake_at END
WHERE thread = :thread AND head = :head AND epoch = :epoch

-- name: move_head_and_release
UPDATE threads
SET head = :new_head, digest = CASE WHEN :new_head = :head THEN digest ELSE :digest END, status = :status, run = :run,
    fingerprint = :fingerprint, updated_at = :at, priority = :priority, tries = 0,
    wake_at = CASE WHEN wake_at = 0 THEN :at ELSE :wake_at END, owner = '', lease_until = 0
WHERE thread = :thread AND head = :head AND epoch = :epoch

-- name: add_entry
INSERT INTO entries (number, seq, kind, run, step, at, epoch, body, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: number
SELECT number FROM threads WHERE thread = ?

-- name: add_value
INSERT OR IGNORE INTO stored_values (address, body) VALUES (?, ?)

-- name: put_snapshot
INSERT OR REPLACE INTO snapshots (number, seq, body) VALUES ((SELECT number FROM threads WHERE thread = ?), ?, ?)

-- name: put_run
INSERT INTO runs (thread, run, graph, status, started_at, ended_at, end_seq, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (thread, run) DO UPDATE
SET status = excluded.status, ended_at = excluded.ended_at, end_seq = excluded.end_seq, error = excluded.error

-- name: put_review
INSERT INTO reviews (review, thread, run, status, roles, due_at, asked_at, closed_at, about)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (review) DO UPDATE
SET status = excluded.status, roles = excluded.roles, due_at = excluded.due_at, closed_at = excluded.closed_at,
    about = excluded.about

-- name: add_key
INSERT INTO used_keys (key, thread, run, digest) VALUES (?, ?, ?, ?)

-- A thread that is held may be about to park, and must not sleep through this: 0 stays until it is given back, and
-- then makes it due; or until the next claim, whose holder looks anyhow.
-- name: wake
UPDATE threads SET wake_at = CASE WHEN owner <> '' THEN 0 ELSE :at END
WHERE thread = :thread AND (owner <> '' OR wake_at IS NULL OR wake_at > :at)

-- name: put_head
INSERT OR REPLACE INTO heads (thread, seq, digest, at, signature) VALUES (?, ?, ?, ?, ?)

-- name: thread
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM threads WHERE thread = ?

-- name: threads
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM threads
WHERE thread > :after AND (:graph = '' OR graph = :graph) AND (:status = '' OR status = :status)
  AND (:tenant = '' OR tenant = :tenant) AND (:search = '' OR instr(lower(thread), lower(:search)) > 0) AND updated_at >= :since
ORDER BY thread LIMIT :limit

-- name: threads_of_owner
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM threads
WHERE owner = :owner AND owner <> '' AND (aside <> '' OR NOT :aside)
  AND thread > :after AND (:graph = '' OR graph = :graph) AND (:status = '' OR status = :status)
  AND (:tenant = '' OR tenant = :tenant) AND (:search = '' OR instr(lower(thread), lower(:search)) > 0) AND updated_at >= :since
ORDER BY thread LIMIT :limit

-- name: threads_aside
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM threads
WHERE aside <> '' AND thread > :after AND (:graph = '' OR graph = :graph) AND (:status = '' OR status = :status)
  AND (:tenant = '' OR tenant = :tenant) AND (:search = '' OR instr(lower(thread), lower(:search)) > 0) AND updated_at >= :since
ORDER BY thread LIMIT :limit

-- name: held
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM threads WHERE owner <> '' ORDER BY owner, thread LIMIT ?

-- name: read
SELECT e.seq, e.kind, e.run, e.step, e.at, e.epoch, e.body, e.digest
FROM entries e
WHERE e.number = (SELECT number FROM threads WHERE thread = :thread) AND e.seq > :after AND e.seq <= :upto
ORDER BY e.seq

-- name: value
SELECT address, body FROM stored_values WHERE address IN (SELECT value FROM json_each(?))

-- name: snapshot
SELECT s.seq, s.body FROM snapshots s WHERE s.number = (SELECT number FROM threads WHERE thread = ?)

-- name: renew
UPDATE threads SET lease_until = :until WHERE thread = :thread AND epoch = :epoch AND owner = :worker

-- name: release
UPDATE threads
SET owner = '', lease_until = 0, tries = 0, wake_at = CASE WHEN wake_at = 0 THEN 1 ELSE :wake_at END
WHERE thread = :thread AND epoch = :epoch AND head = :head

-- name: runs
SELECT thread, run, graph, status, started_at, ended_at, end_seq, error FROM runs WHERE thread = ? ORDER BY run

-- name: reviews
SELECT review, thread, run, status, roles, due_at, asked_at, closed_at, about FROM reviews
WHERE (:status = '' OR status = :status) AND (:thread = '' OR thread = :thread) AND (:review = '' OR review = :review)
  AND (:after = '' OR (due_at IS NULL, ifnull(due_at, 0), asked_at, review) >
       (SELECT a.due_at IS NULL, ifnull(a.due_at, 0), a.asked_at, a.review FROM reviews a WHERE a.review = :after))
ORDER BY due_at IS NULL, due_at, asked_at, review LIMIT :limit

-- name: key
SELECT key, thread, run, digest FROM used_keys WHERE key = ?

-- name: heads
SELECT thread, seq, digest, at, signature FROM heads WHERE :thread = '' OR thread = :thread ORDER BY at, thread, seq

-- name: strays
SELECT t.thread, e.seq FROM threads t JOIN entries e ON e.number = t.number
WHERE (:thread = '' OR t.thread = :thread) AND (e.seq > t.head OR e.seq <= t.base_seq)
UNION ALL
SELECT '', e.seq FROM entries e WHERE :thread = '' AND e.number NOT IN (SELECT number FROM threads)
LIMIT 100

-- name: count_statuses
SELECT status, count(*) FROM threads GROUP BY status

-- name: census
SELECT (SELECT count(*) FROM threads WHERE wake_at <= :now AND wake_at IS NOT NULL AND owner = '' AND aside = ''),
       (SELECT count(*) FROM threads WHERE owner <> '' AND lease_until >= :now),
       (SELECT count(*) FROM threads WHERE aside <> ''),
       (SELECT count(*) FROM reviews WHERE status = 'open')
