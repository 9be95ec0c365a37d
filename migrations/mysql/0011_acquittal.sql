-- +goose Up

-- DDL commits by itself here, so a process killed half-way through is continued by the next one; see 0002 for how.

-- When a closed lease exposes nothing any more. NULL: nobody has said so yet.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE leases ADD COLUMN acquit_at BIGINT NULL')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'leases' AND column_name = 'acquit_at');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'CREATE INDEX leases_acquit ON leases (acquit_at)')
  FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'leases' AND index_name = 'leases_acquit');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- +goose Down
DROP INDEX leases_acquit ON leases;
ALTER TABLE leases DROP COLUMN acquit_at;
