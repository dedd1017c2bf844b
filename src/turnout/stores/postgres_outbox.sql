-- name: add
INSERT INTO turnout.outbox (id, channel, event, thread, run, review, tenant, facts, first_due, created_at, due_at)
SELECT n.*, n.first_due FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                                    $8::bytea[], $9::bigint[], $10::bigint[])
    AS n (id, channel, event, thread, run, review, tenant, facts, first_due, created_at)
ON CONFLICT (thread, id) DO NOTHING

-- name: withdraw
UPDATE turnout.outbox SET status = 'withdrawn', settled_at = $2
WHERE review = ANY($1::text[]) AND status = 'waiting' AND review <> '' AND event = 'review.reminder'

-- name: waits
SELECT EXISTS (SELECT FROM turnout.outbox
               WHERE channel = $1 AND status = 'waiting' AND due_at <= $2 AND held_until < $2)

-- name: take
WITH due AS (
    SELECT thread, id FROM turnout.outbox
    WHERE channel = $2 AND status = 'waiting' AND due_at <= $3 AND held_until < $3
    ORDER BY due_at LIMIT $5
    FOR NO KEY UPDATE SKIP LOCKED)
UPDATE turnout.outbox o SET owner = $1, held_until = $4, attempts = o.attempts + 1
FROM due WHERE o.thread = due.thread AND o.id = due.id
RETURNING o.id, o.channel, o.event, o.thread, o.run, o.review, o.tenant, o.facts, o.first_due, o.created_at, o.due_at,
          o.status, o.attempts, o.owner, o.held_until, o.settled_at, o.error

-- name: settle
UPDATE turnout.outbox SET status = $5, due_at = $6, settled_at = $7, error = $8, owner = '', held_until = 0
WHERE thread = $1 AND id = $2 AND owner = $3 AND attempts = $4 AND status = 'waiting'
RETURNING id

-- name: resend
UPDATE turnout.outbox
SET status = 'waiting', due_at = $1, attempts = 0, settled_at = NULL, owner = '', held_until = 0, error = ''
WHERE CASE WHEN $2::text[] IS NULL THEN status = 'dead' ELSE id = ANY($2::text[]) END
  AND held_until < $1 AND ($3 = '' OR tenant = $3)
RETURNING id, created_at

-- name: forget
DELETE FROM turnout.outbox WHERE settled_at < $1 AND status IN ('sent', 'withdrawn')
RETURNING id
