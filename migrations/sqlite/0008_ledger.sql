-- +goose Up

-- The twin of ../mysql.

-- Which ledger this is: one row, made by the first node that looks for it. A data directory remembers the id.
CREATE TABLE ledger (
  place INTEGER NOT NULL PRIMARY KEY,
  id    BLOB    NOT NULL,
  CONSTRAINT ledger_alone CHECK (place = 1)
);

-- When a closed lease exposes nothing any more. NULL: nobody has said so yet.
ALTER TABLE leases ADD COLUMN acquit_at INTEGER NULL;
CREATE INDEX leases_acquit ON leases (acquit_at);

-- +goose Down
DROP INDEX leases_acquit;
ALTER TABLE leases DROP COLUMN acquit_at;
DROP TABLE ledger;
