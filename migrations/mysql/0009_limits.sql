-- +goose Up

-- DDL commits by itself here, so a process killed half-way through is continued by the next one; see 0002 for how.

-- The recall number that an offer's user limits came with: leases with a lower one may not count users. 0: the limits are as old as
-- the offer. The number that a user's counter was made for; another one, or none: the ledger says what the user has used.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE offers ADD COLUMN limited_from BIGINT NOT NULL DEFAULT 0')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'offers' AND column_name = 'limited_from');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE usages ADD COLUMN counted BIGINT NOT NULL DEFAULT 0')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'usages' AND column_name = 'counted');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
-- For the few leases that expose units, among very many closed ones.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'CREATE INDEX leases_exposed ON leases (offer_id, exposed)')
  FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'leases' AND index_name = 'leases_exposed');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
-- When the transaction ran that inserted an entry. NULL: it is of a version that did not note it, see created_at.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE entries ADD COLUMN booked_at BIGINT NULL')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'entries' AND column_name = 'booked_at');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
-- When a node signed off; NULL: it has not, or has started again since.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE nodes ADD COLUMN left_at BIGINT NULL')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'nodes' AND column_name = 'left_at');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- +goose Down
ALTER TABLE nodes DROP COLUMN left_at;
ALTER TABLE entries DROP COLUMN booked_at;
DROP INDEX leases_exposed ON leases;
ALTER TABLE usages DROP COLUMN counted;
ALTER TABLE offers DROP COLUMN limited_from;
