-- +goose Up

-- The twin of ../mysql: the same tables, columns and checks. TEXT compares byte by byte here.
-- Instants are microseconds since 1970. The offer's id comes first in every key.

CREATE TABLE offers (
  id                         TEXT NOT NULL PRIMARY KEY,
  name                       TEXT NOT NULL,
  unit                       TEXT NOT NULL,
  mode                       TEXT NOT NULL,
  budget                     INTEGER NOT NULL,
  budget_target              INTEGER NOT NULL,
  allocated                  INTEGER NOT NULL DEFAULT 0,
  user_limit_redemptions     INTEGER NULL,
  user_limit_units           INTEGER NULL,
  starts_at                  INTEGER NULL,
  ends_at                    INTEGER NULL,
  status                     TEXT NOT NULL,
  lease_size                 INTEGER NOT NULL,
  lease_ttl_seconds          INTEGER NOT NULL,
  adaptive                   BOOLEAN NOT NULL,
  refund_restores_budget     BOOLEAN NOT NULL,
  refund_restores_user_limit BOOLEAN NOT NULL,
  redeemed                   INTEGER NOT NULL DEFAULT 0,  -- this and the next three: sums of the closed leases
  held                       INTEGER NOT NULL DEFAULT 0,
  refunded                   INTEGER NOT NULL DEFAULT 0,
  forfeited                  INTEGER NOT NULL DEFAULT 0,
  version                    INTEGER NOT NULL,
  created_at                 INTEGER NOT NULL,
  updated_at                 INTEGER NOT NULL,
  CONSTRAINT offers_budget CHECK (budget >= 0 AND budget_target >= 0 AND budget_target <= budget),
  CONSTRAINT offers_allocated CHECK (allocated >= 0),
  CONSTRAINT offers_lease_policy CHECK (lease_size >= 1 AND lease_ttl_seconds BETWEEN 5 AND 3600)
);
CREATE INDEX offers_updated ON offers (updated_at);
CREATE INDEX offers_created ON offers (created_at, id);

CREATE TABLE leases (
  offer_id    TEXT NOT NULL,
  id          BLOB NOT NULL,
  node_id     BLOB NOT NULL,
  epoch       INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  mode        TEXT NOT NULL,
  granted     INTEGER NOT NULL,
  spent       INTEGER NOT NULL DEFAULT 0,
  redeemed    INTEGER NOT NULL DEFAULT 0,
  held        INTEGER NOT NULL DEFAULT 0,
  refunded    INTEGER NOT NULL DEFAULT 0,
  forfeited   INTEGER NOT NULL DEFAULT 0,
  batch       INTEGER NOT NULL DEFAULT 0,
  ttl_seconds INTEGER NOT NULL,
  state       TEXT NOT NULL,
  granted_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  closed_at   INTEGER NULL,
  PRIMARY KEY (offer_id, id),
  CONSTRAINT leases_spent CHECK (spent >= 0 AND spent <= granted)
);
CREATE INDEX leases_active ON leases (offer_id, state);
CREATE INDEX leases_expiring ON leases (state, expires_at);
CREATE INDEX leases_of_node ON leases (node_id, state, epoch);

-- No foreign key to offers: an insert would lock the hot parent row.
CREATE TABLE entries (
  offer_id            TEXT NOT NULL,
  id                  BLOB NOT NULL,
  redemption          BLOB NOT NULL,
  seq                 INTEGER NOT NULL,
  kind                TEXT NOT NULL,
  user_id             TEXT NOT NULL,
  order_id            TEXT NULL,
  idempotency_key     TEXT NOT NULL,
  units               INTEGER NOT NULL,
  lease_id            BLOB NOT NULL,
  node_id             BLOB NOT NULL,
  restores_budget     BOOLEAN NOT NULL,
  restores_user_limit BOOLEAN NOT NULL,
  late                BOOLEAN NOT NULL,
  reason              TEXT NULL,
  metadata            TEXT NULL,
  created_at          INTEGER NOT NULL,
  PRIMARY KEY (offer_id, id),
  CONSTRAINT entries_units CHECK (units >= 1)
);
CREATE UNIQUE INDEX entries_redemption ON entries (offer_id, redemption, seq);
CREATE INDEX entries_user ON entries (offer_id, user_id, id);
CREATE INDEX entries_order ON entries (offer_id, order_id, id);

-- Kept only for offers that limit users.
CREATE TABLE usages (
  offer_id    TEXT NOT NULL,
  user_id     TEXT NOT NULL,
  redemptions INTEGER NOT NULL,
  units       INTEGER NOT NULL,
  held_units  INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (offer_id, user_id),
  CONSTRAINT usages_counted CHECK (redemptions >= 0 AND units >= 0 AND held_units >= 0)
);

CREATE TABLE nodes (
  id         BLOB NOT NULL PRIMARY KEY,
  name       TEXT NOT NULL,
  epoch      INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL
);
CREATE INDEX nodes_seen ON nodes (seen_at);

-- +goose Down
DROP TABLE nodes;
DROP TABLE usages;
DROP TABLE entries;
DROP TABLE leases;
DROP TABLE offers;
