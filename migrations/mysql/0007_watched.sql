-- +goose Up

-- DDL commits by itself here, so a process killed half-way through is continued by the next one; see 0002 for how.

-- Since when a lease is watched, if its owner does not renew it: the last quarter of its time to live. All nodes look for such leases all the
-- time, and without this they read all active ones. leases_expiring is for nodes of earlier versions, as long as there are some.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE leases ADD COLUMN watched_from BIGINT AS (expires_at - ttl_seconds * 250000) VIRTUAL')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'leases' AND column_name = 'watched_from');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'CREATE INDEX leases_watched ON leases (state, watched_from)')
  FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'leases' AND index_name = 'leases_watched');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- +goose Down
DROP INDEX leases_watched ON leases;
ALTER TABLE leases DROP COLUMN watched_from;
