-- +goose Up

-- DDL commits by itself here: see 0002.

-- Which ledger this is: one row, made by the first node that looks for it. A data directory remembers the id.
CREATE TABLE IF NOT EXISTS ledger (
  place BIGINT     NOT NULL PRIMARY KEY,
  id    BINARY(16) NOT NULL,
  CONSTRAINT ledger_alone CHECK (place = 1)
);

-- +goose Down
DROP TABLE ledger;
