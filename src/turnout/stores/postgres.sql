-- The usual step of one thread that nobody shares a commit with, its one or two entries: nothing of the row changes but
-- how far the journal is. (Plain parameters, for they cost a third of what arrays do.)
-- name: step_of_1
WITH moved AS (
    UPDATE turnout.threads SET head = $3, digest = $4, updated_at = $5, tries = CASE WHEN $7 THEN 0 ELSE tries END
    WHERE thread = $1 AND head = $2 AND epoch = $6
    RETURNING thread)
INSERT INTO turnout.entries (thread, seq, kind, run, step, at, epoch, body, digest)
SELECT moved.thread, $8, $9, $10, $11, $12, $6, $13, $14 FROM moved
RETURNING thread

-- name: step_of_2
WITH moved AS (
    UPDATE turnout.threads SET head = $3, digest = $4, updated_at = $5, tries = CASE WHEN $7 THEN 0 ELSE tries END
    WHERE thread = $1 AND head = $2 AND epoch = $6
    RETURNING thread)
INSERT INTO turnout.entries (thread, seq, kind, run, step, at, epoch, body, digest)
SELECT moved.thread, e.* FROM moved CROSS JOIN (VALUES
    ($8::bigint, $9::text, $10::bigint, $11::text, $12::bigint, $6::bigint, $13::bytea, $14::bytea),
    ($15, $16, $17, $18, $19, $6, $20, $21)) e
RETURNING thread

-- The usual steps of many threads in one statement. A row that somebody has locked is left out, so that nobody waits
-- while holding locks that another one wants: its append is tried again.
-- name: steps
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::boolean[])
        AS g (thread, head, new_head, digest, at, epoch, progress)),
free AS (
    SELECT t.thread FROM turnout.threads t JOIN given g ON g.thread = t.thread AND g.head = t.head AND g.epoch = t.epoch
    FOR NO KEY UPDATE OF t SKIP LOCKED),
moved AS (
    UPDATE turnout.threads t
    SET head = g.new_head, digest = g.digest, updated_at = g.at, tries = CASE WHEN g.progress THEN 0 ELSE t.tries END
    FROM free JOIN given g ON g.thread = free.thread
    WHERE t.thread = free.thread AND t.head = g.head AND t.epoch = g.epoch
    RETURNING t.thread),
added AS (
    INSERT INTO turnout.entries (thread, seq, kind, run, step, at, epoch, body, digest)
    SELECT e.* FROM unnest($8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::text[], $13::bigint[],
                           $14::bigint[], $15::bytea[], $16::bytea[])
        AS e (thread, seq, kind, run, step, at, epoch, body, digest) JOIN moved ON moved.thread = e.thread)
SELECT thread FROM moved

-- Appends of any kind, in one statement: what follows `accepted` is written for those that were accepted alone. A key
-- that is taken fails the statement; then each append is tried by itself.
-- name: appends
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::bytea[], $9::bigint[], $10::bigint[], $11::boolean[], $12::bigint[], $13::boolean[],
                         $14::text[], $15::bigint[], $16::text[], $17::bigint[], $18::boolean[], $19::boolean[],
                         $20::text[])
        AS g (thread, graph, fingerprint, status, run, head, new_head, digest, epoch, at, keeps, wake_at, releases,
              base_thread, base_seq, tenant, priority, progress, opens, aside)),
opened AS (
    INSERT INTO turnout.threads (thread, graph, fingerprint, status, run, head, digest, epoch, wake_at, created_at,
                                 updated_at, base_thread, base_seq, tenant, priority, aside)
    SELECT thread, graph, fingerprint, status, run, new_head, digest, epoch, CASE WHEN keeps THEN NULL ELSE wake_at END,
           at, at, base_thread, base_seq, tenant, priority, coalesce(aside, '')
    FROM given WHERE opens ORDER BY thread
    ON CONFLICT (thread) DO NOTHING
    RETURNING thread, graph, owner, wake_at),
free AS (
    SELECT t.thread FROM turnout.threads t JOIN given g ON g.thread = t.thread AND g.head = t.head AND g.epoch = t.epoch
    WHERE NOT g.opens
    FOR NO KEY UPDATE OF t SKIP LOCKED),
moved AS (
    UPDATE turnout.threads t
    SET head = g.new_head, digest = CASE WHEN g.new_head = g.head THEN t.digest ELSE g.digest END, status = g.status,
        run = g.run, fingerprint = g.fingerprint, updated_at = g.at, priority = g.priority,
        tries = CASE WHEN g.progress OR g.releases THEN 0 ELSE t.tries END,
        aside = coalesce(g.aside, t.aside),
        wake_at = CASE WHEN g.keeps AND NOT g.releases THEN t.wake_at
                       WHEN t.wake_at = 0 THEN CASE WHEN g.releases THEN g.at ELSE 0 END
                       ELSE g.wake_at END,
        owner = CASE WHEN g.releases THEN '' ELSE t.owner END,
        lease_until = CASE WHEN g.releases THEN 0 ELSE t.lease_until END
    FROM free JOIN given g ON g.thread = free.thread
    WHERE t.thread = free.thread AND t.head = g.head AND t.epoch = g.epoch
    RETURNING t.thread, t.graph, t.owner, t.wake_at),
accepted AS (SELECT * FROM opened UNION ALL SELECT * FROM moved),
added AS (
    INSERT INTO turnout.entries (thread, seq, kind, run, step, at, epoch, body, digest)
    SELECT e.* FROM unnest($21::text[], $22::bigint[], $23::text[], $24::bigint[], $25::text[], $26::bigint[],
                           $27::bigint[], $28::bytea[], $29::bytea[])
        AS e (thread, seq, kind, run, step, at, epoch, body, digest) JOIN accepted a ON a.thread = e.thread),
kept AS (
    INSERT INTO turnout.stored_values (address, body)
    SELECT v.address, v.body FROM unnest($30::text[], $31::text[], $32::bytea[]) AS v (thread, address, body)
    JOIN accepted a ON a.thread = v.thread ORDER BY v.address
    ON CONFLICT (address) DO NOTHING),
ran AS (
    INSERT INTO turnout.runs (thread, run, graph, status, started_at, ended_at, end_seq, error)
    SELECT r.* FROM unnest($33::text[], $34::bigint[], $35::text[], $36::text[], $37::bigint[], $38::bigint[],
                           $39::bigint[], $40::text[])
        AS r (thread, run, graph, status, started_at, ended_at, end_seq, error) JOIN accepted a ON a.thread = r.thread
    ON CONFLICT (thread, run) DO UPDATE
    SET status = excluded.status, ended_at = excluded.ended_at, end_seq = excluded.end_seq, error = excluded.error),
asked AS (
    INSERT INTO turnout.reviews (review, thread, run, status, roles, due_at, asked_at, closed_at, about)
    SELECT r.* FROM unnest($41::text[], $42::text[], $43::bigint[], $44::text[], $45::text[], $46::bigint[],
                           $47::bigint[], $48::bigint[], $49::bytea[])
        AS r (review, thread, run, status, roles, due_at, asked_at, closed_at, about)
    JOIN accepted a ON a.thread = r.thread
    ON CONFLICT (review) DO UPDATE
    SET status = excluded.status, roles = excluded.roles, due_at = excluded.due_at, closed_at = excluded.closed_at,
        about = excluded.about),
used AS (
    INSERT INTO turnout.used_keys (key, thread, run, digest)
    SELECT k.* FROM unnest($50::text[], $51::text[], $52::bigint[], $53::text[]) AS k (key, thread, run, digest)
    JOIN accepted a ON a.thread = k.thread ORDER BY k.key),
folded AS (
    INSERT INTO turnout.snapshots (thread, seq, body)
    SELECT s.* FROM unnest($54::text[], $55::bigint[], $56::bytea[]) AS s (thread, seq, body)
    JOIN accepted a ON a.thread = s.thread
    ON CONFLICT (thread) DO UPDATE SET seq = excluded.seq, body = excluded.body),
signed AS (
    INSERT INTO turnout.heads (thread, seq, digest, at, signature)
    SELECT h.* FROM unnest($57::text[], $58::bigint[], $59::bytea[], $60::bigint[], $61::bytea[])
        AS h (thread, seq, digest, at, signature) JOIN accepted a ON a.thread = h.thread
    ON CONFLICT (thread, seq) DO UPDATE SET digest = excluded.digest, at = excluded.at, signature = excluded.signature)
SELECT thread, graph, owner, wake_at FROM accepted

-- Threads that are about to be written and those that are to be woken, in one order, so that two who do this never wait
-- for one another.
-- name: lock
SELECT thread FROM turnout.threads WHERE thread = ANY($1::text[]) ORDER BY thread FOR NO KEY UPDATE

-- A thread that is held may be about to park, and must not sleep through this: 0 stays until it is given back, and
-- then makes it due; or until the next claim, whose holder looks anyhow.
-- name: wake
UPDATE turnout.threads t SET wake_at = CASE WHEN owner <> '' THEN 0 ELSE w.at END
FROM unnest($1::text[], $2::bigint[]) AS w (thread, at)
WHERE t.thread = w.thread AND (t.owner <> '' OR t.wake_at IS NULL OR t.wake_at > w.at)
RETURNING t.thread, t.graph, t.owner, t.wake_at

-- name: thread
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM turnout.threads WHERE thread = $1

-- name: threads
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM turnout.threads
WHERE thread > $1 AND ($2 = '' OR graph = $2) AND ($3 = '' OR status = $3) AND ($4 = '' OR owner = $4)
  AND ($5 = '' OR strpos(lower(thread), lower($5 COLLATE "C")) > 0) AND ($6 = '' OR tenant = $6) AND (NOT $7 OR aside <> '') AND updated_at >= $9
ORDER BY thread LIMIT $8

-- What pages show of many threads at once. None of it reads a whole journal.
-- name: latest
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM turnout.threads
WHERE (created_at, thread) < ($1, $2) AND ($3 = '' OR graph = $3) AND ($4 = '' OR status = $4)
  AND ($5 = '' OR strpos(lower(thread), lower($5 COLLATE "C")) > 0) AND ($6 = '' OR tenant = $6) AND (NOT $7 OR aside <> '')
ORDER BY created_at DESC, thread DESC LIMIT $8

-- name: tally
SELECT graph, fingerprint, status, aside <> '', count(*) FROM turnout.threads
WHERE ($1 = '' OR graph = $1) AND ($2 = '' OR strpos(thread, $2) > 0) AND ($3 = '' OR tenant = $3)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4

-- A step's id begins with its node's name, up to the point.
-- name: nodes
SELECT node, count(DISTINCT step), count(DISTINCT step) FILTER (WHERE kind = 'step.failed'),
       count(DISTINCT step) FILTER (WHERE kind NOT LIKE 'step.%')
FROM (SELECT split_part(e.step, '.', 1) AS node, e.kind, (e.thread, e.run, e.step) AS step
      FROM (SELECT thread FROM turnout.threads WHERE graph = $1 ORDER BY created_at DESC, thread DESC LIMIT $2) t
      JOIN turnout.entries e ON e.thread = t.thread
      WHERE e.kind IN ('step.finished', 'step.failed', 'step.cancelled', 'review.requested', 'signal.awaited', 'timer.set',
                       'child.started')) found
WHERE node <> '' GROUP BY node ORDER BY node

-- name: open_reviews
SELECT count(*) FROM (SELECT 1 FROM turnout.reviews WHERE status = 'open' LIMIT $1) found

-- name: closed_reviews
SELECT review, thread, run, status, roles, due_at, asked_at, closed_at, about FROM turnout.reviews
WHERE status <> 'open' ORDER BY closed_at DESC NULLS LAST, review LIMIT $1
-- name: held_threads
SELECT thread, graph, fingerprint, status, run, head, digest, epoch, owner, lease_until, wake_at, created_at, updated_at,
       base_thread, base_seq, tenant, priority, tries, aside
FROM turnout.threads WHERE owner <> '' ORDER BY owner, thread LIMIT $1

-- Read within the one statement, so that head and entries are of one moment.
-- name: read
SELECT e.seq, e.kind, e.run, e.step, e.at, e.epoch, e.body, e.digest
FROM turnout.entries e
WHERE e.thread = $1 AND e.seq > $2 AND e.seq <= $3
ORDER BY e.seq

-- name: is_there
SELECT digest FROM turnout.entries WHERE thread = $1 AND seq = $2

-- name: value
SELECT address, body FROM turnout.stored_values WHERE address = ANY($1::text[])

-- name: snapshot
SELECT seq, body FROM turnout.snapshots WHERE thread = $1

-- Threads that are due and free, locked for the rest of the transaction; those that another worker is taking at this
-- moment are left to it. From lane to lane (a graph and a priority each), and in each lane the longest due, so
-- that the cost grows neither with the threads that wait nor with those of other graphs.
-- name: due
SELECT t.thread, t.graph, t.tenant, t.priority, t.wake_at, t.epoch, t.owner, t.lease_until, t.tries
FROM turnout.lanes CROSS JOIN LATERAL (
    SELECT thread, graph, tenant, priority, wake_at, epoch, owner, lease_until, tries FROM turnout.threads
    WHERE graph = lanes.graph AND -priority = lanes.rank AND wake_at <= $1
      AND wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2
    ORDER BY wake_at LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED) t
WHERE $2::text[] IS NULL OR lanes.graph = ANY($2::text[])

-- The same where limits are set: a lane is of one tenant, too, so that a tenant at its limit isn't gone through. $4 and
-- $5 are the graphs and tenants that have no place left.
-- name: due_by_tenant
WITH RECURSIVE lanes AS (
    (SELECT graph, tenant, -priority AS rank FROM turnout.threads
     WHERE wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2
     ORDER BY graph, tenant, -priority LIMIT 1)
    UNION ALL
    SELECT next.graph, next.tenant, next.rank FROM lanes CROSS JOIN LATERAL (
        SELECT graph, tenant, -priority AS rank FROM turnout.threads
        WHERE wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2
          AND (graph, tenant, -priority) > (lanes.graph, lanes.tenant, lanes.rank)
        ORDER BY graph, tenant, -priority LIMIT 1) next)
SELECT t.thread, t.graph, t.tenant, t.priority, t.wake_at, t.epoch, t.owner, t.lease_until, t.tries
FROM lanes CROSS JOIN LATERAL (
    SELECT thread, graph, tenant, priority, wake_at, epoch, owner, lease_until, tries FROM turnout.threads
    WHERE graph = lanes.graph AND tenant = lanes.tenant AND -priority = lanes.rank AND wake_at <= $1
      AND wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2
    ORDER BY wake_at LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED) t
WHERE ($2::text[] IS NULL OR lanes.graph = ANY($2::text[]))
  AND lanes.graph <> ALL($4::text[]) AND lanes.tenant <> ALL($5::text[])

-- Threads whose holder let its lease run out. There are never more than workers have places.
-- name: run_out
SELECT thread, graph, tenant, priority, wake_at, epoch, owner, lease_until, tries FROM turnout.threads
WHERE owner <> '' AND lease_until < $1 AND wake_at <= $1 AND aside = '' AND ($2::text[] IS NULL OR graph = ANY($2::text[]))
ORDER BY lease_until LIMIT $3
FOR NO KEY UPDATE SKIP LOCKED

-- name: suspect
SELECT thread, graph, tenant, priority, wake_at, epoch, owner, lease_until, tries FROM turnout.threads
WHERE wake_at <= $1 AND owner = '' AND aside = '' AND tries >= 2 AND ($2::text[] IS NULL OR graph = ANY($2::text[]))
ORDER BY wake_at LIMIT $3
FOR NO KEY UPDATE SKIP LOCKED

-- name: count_due
SELECT count(*) FROM (
    (SELECT 1 FROM turnout.lanes CROSS JOIN LATERAL (
        SELECT 1 FROM turnout.threads
        WHERE graph = lanes.graph AND -priority = lanes.rank AND wake_at <= $1
          AND wake_at IS NOT NULL AND owner = '' AND aside = '' AND tries < 2
        LIMIT $3) t
     WHERE $2::text[] IS NULL OR lanes.graph = ANY($2::text[]) LIMIT $3)
    UNION ALL
    (SELECT 1 FROM turnout.threads
     WHERE wake_at <= $1 AND owner = '' AND aside = '' AND tries >= 2 AND ($2::text[] IS NULL OR graph = ANY($2::text[]))
     LIMIT $3)
    UNION ALL
    (SELECT 1 FROM turnout.threads
     WHERE owner <> '' AND ($4::boolean OR lease_until < $1) AND wake_at <= $1 AND aside = ''
       AND ($2::text[] IS NULL OR graph = ANY($2::text[]))
     LIMIT $3)
    LIMIT $3) d

-- name: due_one
SELECT thread, graph, tenant, priority, wake_at, epoch, owner, lease_until, tries FROM turnout.threads
WHERE thread = $1 AND lease_until < $2 AND wake_at <= $2 AND aside = '' AND ($3::text[] IS NULL OR graph = ANY($3::text[]))
FOR NO KEY UPDATE SKIP LOCKED

-- name: take
UPDATE turnout.threads t
SET epoch = t.epoch + 1, owner = $2, lease_until = $3, wake_at = greatest(t.wake_at, 1), tries = g.tries
FROM unnest($1::text[], $4::bigint[], $5::bigint[]) AS g (thread, epoch, tries)
WHERE t.thread = g.thread AND t.epoch = g.epoch AND t.lease_until < $6 AND t.aside = ''
RETURNING t.thread, t.epoch, t.tries

-- name: set_aside
UPDATE turnout.threads SET aside = $2, epoch = epoch + 1, owner = '', lease_until = 0, wake_at = NULL
WHERE thread = ANY($1::text[]) AND aside = ''
RETURNING thread

-- name: give_up
UPDATE turnout.threads SET aside = $4, tries = $5, epoch = epoch + 1, owner = '', lease_until = 0, wake_at = NULL
WHERE thread = $1 AND epoch = $2 AND lease_until < $3 AND aside = ''
RETURNING thread

-- name: take_back
UPDATE turnout.threads SET aside = '', tries = 0, wake_at = $2
WHERE thread = ANY($1::text[]) AND aside <> ''
RETURNING thread, graph, owner, wake_at

-- name: held
SELECT graph, tenant, count(*) FROM turnout.threads WHERE owner <> '' AND lease_until >= $1 GROUP BY graph, tenant

-- Held for the rest of the transaction: who counts what is held and takes more may not be overtaken.
-- name: lock_limits
SELECT pg_advisory_xact_lock(1414877774, 1)

-- Locked in the order of `lock`, too: a worker renews many at once.
-- name: renew
WITH own AS (
    SELECT t.thread, t.epoch FROM turnout.threads t
    JOIN unnest($3::text[], $4::bigint[]) AS g (thread, epoch) ON t.thread = g.thread AND t.epoch = g.epoch
    WHERE t.owner = $1
    ORDER BY t.thread FOR NO KEY UPDATE OF t)
UPDATE turnout.threads t SET lease_until = $2
FROM own WHERE t.thread = own.thread AND t.epoch = own.epoch AND t.owner = $1
RETURNING t.thread, t.epoch

-- name: release
UPDATE turnout.threads SET owner = '', lease_until = 0, tries = 0, wake_at = CASE WHEN wake_at = 0 THEN 1 ELSE $4 END
WHERE thread = $1 AND epoch = $2 AND head = $3 AND aside = ''
RETURNING thread, graph, owner, wake_at

-- name: limits
SELECT kind, name, at_once FROM turnout.limits ORDER BY kind, name

-- name: put_limit
INSERT INTO turnout.limits (kind, name, at_once) VALUES ($1, $2, $3)
ON CONFLICT (kind, name) DO UPDATE SET at_once = excluded.at_once

-- name: drop_limit
DELETE FROM turnout.limits WHERE kind = $1 AND name = $2

-- name: runs
SELECT thread, run, graph, status, started_at, ended_at, end_seq, error FROM turnout.runs WHERE thread = $1 ORDER BY run

-- name: reviews
SELECT review, thread, run, status, roles, due_at, asked_at, closed_at, about FROM turnout.reviews
WHERE ($1 = '' OR status = $1) AND ($2 = '' OR thread = $2) AND ($3 = '' OR review = $3)
  AND ($5 = '' OR (due_at IS NULL, coalesce(due_at, 0), asked_at, review) >
       (SELECT a.due_at IS NULL, coalesce(a.due_at, 0), a.asked_at, a.review FROM turnout.reviews a WHERE a.review = $5))
ORDER BY due_at NULLS LAST, asked_at, review LIMIT $4

-- name: key
SELECT key, thread, run, digest FROM turnout.used_keys WHERE key = $1

-- name: keys
SELECT key, thread, run, digest FROM turnout.used_keys WHERE thread = $1 ORDER BY key

-- name: heads
SELECT thread, seq, digest, at, signature FROM turnout.heads WHERE $1 = '' OR thread = $1 ORDER BY at, thread, seq

-- name: strays
SELECT t.thread, e.seq FROM turnout.threads t JOIN turnout.entries e ON e.thread = t.thread
WHERE ($1 = '' OR t.thread = $1) AND (e.seq > t.head OR e.seq <= t.base_seq)
UNION ALL
SELECT '', e.seq FROM turnout.entries e
WHERE $1 = '' AND NOT EXISTS (SELECT FROM turnout.threads t WHERE t.thread = e.thread)
LIMIT 100

-- name: schedules
SELECT name, graph, input, cron, zone, at, missed, overlap, paused, next_at, created_at, updated_at, last_at, last_thread,
       note, by, tenant, priority
FROM turnout.schedules WHERE ($1 = '' OR name = $1) AND ($2 = '' OR graph = $2) ORDER BY name

-- name: due_schedules
SELECT name, graph, input, cron, zone, at, missed, overlap, paused, next_at, created_at, updated_at, last_at, last_thread,
       note, by, tenant, priority
FROM turnout.schedules WHERE next_at IS NOT NULL AND NOT paused AND next_at <= $1 AND graph = ANY($2::text[])
ORDER BY next_at LIMIT $3

-- name: put_schedule
INSERT INTO turnout.schedules (name, graph, input, cron, zone, at, missed, overlap, paused, next_at, created_at, updated_at,
                               last_at, last_thread, note, by, tenant, priority)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT (name) DO UPDATE
SET graph = excluded.graph, input = excluded.input, cron = excluded.cron, zone = excluded.zone, at = excluded.at,
    missed = excluded.missed, overlap = excluded.overlap, paused = excluded.paused, next_at = excluded.next_at,
    created_at = excluded.created_at, updated_at = excluded.updated_at, last_at = excluded.last_at,
    last_thread = excluded.last_thread, note = excluded.note, by = excluded.by, tenant = excluded.tenant,
    priority = excluded.priority

-- name: put_own_schedule
INSERT INTO turnout.schedules (name, graph, input, cron, zone, at, missed, overlap, paused, next_at, created_at, updated_at,
                               last_at, last_thread, note, by, tenant, priority)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT (name) DO UPDATE
SET graph = excluded.graph, input = excluded.input, cron = excluded.cron, zone = excluded.zone, at = excluded.at,
    missed = excluded.missed, overlap = excluded.overlap, paused = excluded.paused, next_at = excluded.next_at,
    created_at = excluded.created_at, updated_at = excluded.updated_at, last_at = excluded.last_at,
    last_thread = excluded.last_thread, note = excluded.note, by = excluded.by, priority = excluded.priority
WHERE schedules.tenant = excluded.tenant
RETURNING name

-- name: move_schedule
UPDATE turnout.schedules
SET graph = $2, input = $3, cron = $4, zone = $5, at = $6, missed = $7, overlap = $8, paused = $9, next_at = $10,
    created_at = $11, updated_at = $12, last_at = $13, last_thread = $14, note = $15, by = $16, tenant = $17, priority = $18
WHERE name = $1 AND next_at IS NOT DISTINCT FROM $19 AND updated_at = $20
RETURNING name

-- name: drop_schedule
DELETE FROM turnout.schedules WHERE name = $1
RETURNING name

-- name: drop_own_schedule
DELETE FROM turnout.schedules WHERE name = $1 AND tenant = $2
RETURNING name

-- name: tokens
SELECT token, kind, digest, who, roles, review_roles, tenant, how, created_at, expires_at, revoked_at, parent, by
FROM turnout.tokens WHERE ($1 = '' OR token = $1) AND ($2 = '' OR kind = $2)
ORDER BY created_at, token LIMIT $3

-- name: put_token
INSERT INTO turnout.tokens (token, kind, digest, who, roles, review_roles, tenant, how, created_at, expires_at, revoked_at,
                            parent, by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: revoke_token
UPDATE turnout.tokens SET revoked_at = $2 WHERE token = $1 AND revoked_at IS NULL RETURNING token

-- name: forget_sessions
DELETE FROM turnout.tokens WHERE kind = 'session' AND expires_at < $1 RETURNING token

-- For the rest of the transaction: the role that the policies of migration 3 are for, and the tenant whose rows it sees.
-- name: narrow
SELECT set_config('role', 'turnout_tenant', true), set_config('turnout.tenant', $1, true)

-- Who has something to look at, by the server's clock: its holder, or any worker that has the graph.
-- name: clock
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- Wake-ups that nobody fetched are old news: the sweep has found their threads long since.
-- name: forget_wakes
DELETE FROM turnout.pgqueuer WHERE created < now() - interval '10 minutes'

-- name: forget_wake_log
DELETE FROM turnout.pgqueuer_log WHERE created < now() - interval '1 day'

-- name: may_write
SELECT has_table_privilege('turnout.threads', 'UPDATE') AND has_table_privilege('turnout.entries', 'INSERT')

-- name: version
SELECT max(version) FROM turnout.migrations

-- name: versions
SELECT version FROM turnout.migrations ORDER BY version

-- name: outbox
SELECT id, channel, event, thread, run, review, tenant, facts, first_due, created_at, due_at, status, attempts, owner,
       held_until, settled_at, error
FROM turnout.outbox WHERE ($1 = '' OR status = $1) AND ($2 = '' OR tenant = $2) AND ($3 = '' OR id = $3)
  AND created_at <= $5 AND (created_at < $5 OR id > $6)
ORDER BY created_at DESC, id LIMIT $4

-- name: count_outbox
SELECT status, count(*) FROM turnout.outbox GROUP BY status

-- name: count_statuses
SELECT status, count(*) FROM turnout.threads GROUP BY status

-- name: census
SELECT (SELECT count(*) FROM turnout.threads WHERE wake_at <= $1 AND wake_at IS NOT NULL AND owner = '' AND aside = ''),
       (SELECT count(*) FROM turnout.threads WHERE owner <> '' AND lease_until >= $1),
       (SELECT count(*) FROM turnout.threads WHERE aside <> ''),
       (SELECT count(*) FROM turnout.reviews WHERE status = 'open')
