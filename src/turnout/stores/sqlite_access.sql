-- name: tokens
SELECT token, kind, digest, who, roles, review_roles, tenant, how, created_at, expires_at, revoked_at, parent, by
FROM turnout_tokens WHERE (:token = '' OR token = :token) AND (:kind = '' OR kind = :kind)
ORDER BY created_at, token LIMIT :limit

-- name: put_token
INSERT INTO turnout_tokens (token, kind, digest, who, roles, review_roles, tenant, how, created_at, expires_at, revoked_at, parent, by)
VALUES (:token, :kind, :digest, :who, :roles, :review_roles, :tenant, :how, :created_at, :expires_at, :revoked_at, :parent, :by)

-- name: revoke_token
UPDATE turnout_tokens SET revoked_at = :at WHERE token = :token AND revoked_at IS NULL

-- name: forget_sessions
DELETE FROM turnout_tokens WHERE kind = 'session' AND expires_at < :before
