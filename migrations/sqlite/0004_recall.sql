-- +goose Up

-- The twin of ../mysql.

-- How often leases of an offer were called back, and how often that was when the lease was granted.
ALTER TABLE offers ADD COLUMN recall INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN recall INTEGER NOT NULL DEFAULT 0;
-- For those that are not over, however many are.
CREATE INDEX offers_open ON offers (status, ends_at);

-- What admins did. Rows are never changed.
CREATE TABLE audits (
  offer_id     TEXT NOT NULL,
  id           BLOB NOT NULL,
  at           INTEGER NOT NULL,
  actor        TEXT NOT NULL,
  node_id      BLOB NOT NULL,
  action       TEXT NOT NULL,
  reason       TEXT NULL,
  request_id   TEXT NOT NULL,
  terms_before TEXT NULL,
  terms_after  TEXT NOT NULL,
  PRIMARY KEY (offer_id, id)
);
CREATE INDEX audits_id ON audits (id);

-- +goose Down
DROP TABLE audits;
DROP INDEX offers_open;
ALTER TABLE leases DROP COLUMN recall;
ALTER TABLE offers DROP COLUMN recall;
