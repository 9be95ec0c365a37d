-- +goose Up

-- The twin of ../mysql.

-- Since when a lease is watched, if its owner does not renew it: the last quarter of its time to live.
ALTER TABLE leases ADD COLUMN watched_from INTEGER AS (expires_at - ttl_seconds * 250000) VIRTUAL;
CREATE INDEX leases_watched ON leases (state, watched_from);

-- +goose Down
DROP INDEX leases_watched;
ALTER TABLE leases DROP COLUMN watched_from;
