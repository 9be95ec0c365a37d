-- +goose Up

-- DDL commits by itself here: see 0002.

-- Which ledger this is: one row, made by the first node that looks for it. A data directory remembers the id.
CREATE TABLE IF NOT EXISTS ledger (
  place BIGINT     NOT NULL PRIMARY KEY,
  id    BINARY(16) NOT NULL,
  CONSTRAINT ledger_alone CHECK (place = 1)
);

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
DROP TABLE ledger;
