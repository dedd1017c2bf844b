-- What a journal needs that moves from store to store.

-- name: put_aside
UPDATE threads SET aside = ? WHERE thread = ?

-- name: keys
SELECT key, thread, run, digest FROM used_keys WHERE thread = ? ORDER BY key
