-- +goose Up

-- DDL commits by itself here, so a process killed half-way through is continued by the next one; see 0002 for how.

-- The version of the program that a node started as. Empty: a version that did not say.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE nodes ADD COLUMN version VARCHAR(64) NOT NULL DEFAULT ''''')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'nodes' AND column_name = 'version');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- +goose Down
ALTER TABLE nodes DROP COLUMN version;
