-- name: schedules
SELECT name, graph, input, cron, zone, at, missed, overlap, paused, next_at, created_at, updated_at, last_at, last_thread,
       note, by, tenant, priority
FROM schedules WHERE (:name = '' OR name = :name) AND (:graph = '' OR graph = :graph) ORDER BY name

-- name: due
SELECT name, graph, input, cron, zone, at, missed, overlap, paused, next_at, created_at, updated_at, last_at, last_thread,
       note, by, tenant, priority
FROM schedules
WHERE next_at <= :now AND paused = 0 AND graph IN (SELECT value FROM json_each(:graphs))
ORDER BY next_at LIMIT :limit

-- name: put
INSERT OR REPLACE INTO schedules (name, graph, input, cron, zone, at, missed, overlap, paused, next_at, created_at, updated_at,
                                  last_at, last_thread, note, by, tenant, priority)
VALUES (:name, :graph, :input, :cron, :zone, :at, :missed, :overlap, :paused, :next_at, :created_at, :updated_at,
        :last_at, :last_thread, :note, :by, :tenant, :priority)

-- name: put_own
INSERT INTO schedules (name, graph, input, cron, zone, at, missed, overlap, paused, next_at, created_at, updated_at,
                       last_at, last_thread, note, by, tenant, priority)
VALUES (:name, :graph, :input, :cron, :zone, :at, :missed, :overlap, :paused, :next_at, :created_at, :updated_at,
        :last_at, :last_thread, :note, :by, :tenant, :priority)
ON CONFLICT (name) DO UPDATE
SET graph = excluded.graph, input = excluded.input, cron = excluded.cron, zone = excluded.zone, at = excluded.at,
    missed = excluded.missed, overlap = excluded.overlap, paused = excluded.paused, next_at = excluded.next_at,
    created_at = excluded.created_at, updated_at = excluded.updated_at, last_at = excluded.last_at,
    last_thread = excluded.last_thread, note = excluded.note, by = excluded.by, priority = excluded.priority
WHERE tenant = excluded.tenant

-- name: move
UPDATE schedules
SET graph = :graph, input = :input, cron = :cron, zone = :zone, at = :at, missed = :missed, overlap = :overlap,
    paused = :paused, next_at = :next_at, created_at = :created_at, updated_at = :updated_at, last_at = :last_at,
    last_thread = :last_thread, note = :note, by = :by, tenant = :tenant, priority = :priority
WHERE name = :name AND next_at IS :was_next_at AND updated_at = :was_updated_at

-- name: drop
DELETE FROM schedules WHERE name = ?

-- name: drop_own
DELETE FROM schedules WHERE name = ? AND tenant = ?
