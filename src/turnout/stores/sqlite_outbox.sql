-- name: add
INSERT INTO turnout_outbox (id, channel, event, thread, run, review, tenant, facts, first_due, created_at, due_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING

-- name: withdraw
UPDATE turnout_outbox SET status = 'withdrawn', settled_at = :at
WHERE review = :review AND status = 'waiting' AND review <> '' AND event = 'review.reminder'

-- name: list
SELECT id, channel, event, thread, run, review, tenant, facts, first_due, created_at, due_at, status, attempts, owner,
       held_until, settled_at, error
FROM turnout_outbox
WHERE (:status = '' OR status = :status) AND (:tenant = '' OR tenant = :tenant) AND (:id = '' OR id = :id)
  AND created_at <= :at AND (created_at < :at OR id > :after)
ORDER BY created_at DESC, id LIMIT :limit

-- name: count
SELECT status, count(*) FROM turnout_outbox GROUP BY status

-- name: due
SELECT id FROM turnout_outbox
WHERE channel = :channel AND status = 'waiting' AND due_at <= :now AND held_until < :now ORDER BY due_at LIMIT :limit

-- name: take
UPDATE turnout_outbox SET owner = :owner, held_until = :until, attempts = attempts + 1
WHERE id = :id AND status = 'waiting' AND due_at <= :now AND held_until < :now
RETURNING id, channel, event, thread, run, review, tenant, facts, first_due, created_at, due_at, status, attempts, owner,
          held_until, settled_at, error

-- name: settle
UPDATE turnout_outbox
SET status = :status, due_at = :due_at, settled_at = :settled_at, error = :error, owner = '', held_until = 0
WHERE id = :id AND owner = :owner AND attempts = :attempts AND status = 'waiting'

-- name: resend
UPDATE turnout_outbox SET status = 'waiting', due_at = :at, attempts = 0, settled_at = NULL, owner = '', held_until = 0, error = ''
WHERE id = :id AND held_until < :at AND (:tenant = '' OR tenant = :tenant)

-- name: dead
SELECT id FROM turnout_outbox WHERE status = 'dead' AND (:tenant = '' OR tenant = :tenant) ORDER BY created_at, id

-- name: forget
DELETE FROM turnout_outbox WHERE settled_at < ? AND status IN ('sent', 'withdrawn')
