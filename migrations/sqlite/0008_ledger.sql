-- +goose Up

-- The twin of ../mysql.

-- Which ledger this is: one row, made by the first node that looks for it. A data directory remembers the id.
CREATE TABLE ledger (
  place INTEGER NOT NULL PRIMARY KEY,
  id    BLOB    NOT NULL,
  CONSTRAINT ledger_alone CHECK (place = 1)
);

-- +goose Down
DROP TABLE ledger;
