-- +goose Up

-- Identifiers are VARBINARY: compared byte by byte, with no collation that folds case or pads.
-- Instants are microseconds since 1970, by this server's clock. The offer's id comes first in every key.
-- IF NOT EXISTS, because DDL commits by itself here: a process killed half-way through is continued by the next one.

CREATE TABLE IF NOT EXISTS offers (
  id                         VARBINARY(64)  NOT NULL PRIMARY KEY,
  name                       VARCHAR(200)   NOT NULL,
  unit                       VARBINARY(16)  NOT NULL,
  mode                       VARBINARY(16)  NOT NULL,
  budget                     BIGINT         NOT NULL,
  budget_target              BIGINT         NOT NULL,
  allocated                  BIGINT         NOT NULL DEFAULT 0,
  user_limit_redemptions     BIGINT         NULL,
  user_limit_units           BIGINT         NULL,
  starts_at                  BIGINT         NULL,
  ends_at                    BIGINT         NULL,
  status                     VARBINARY(16)  NOT NULL,
  lease_size                 BIGINT         NOT NULL,
  lease_ttl_seconds          BIGINT         NOT NULL,
  adaptive                   BOOLEAN        NOT NULL,
  refund_restores_budget     BOOLEAN        NOT NULL,
  refund_restores_user_limit BOOLEAN        NOT NULL,
  redeemed                   BIGINT         NOT NULL DEFAULT 0,  -- this and the next three: sums of the closed leases
  held                       BIGINT         NOT NULL DEFAULT 0,
  refunded                   BIGINT         NOT NULL DEFAULT 0,
  forfeited                  BIGINT         NOT NULL DEFAULT 0,
  version                    BIGINT         NOT NULL,
  created_at                 BIGINT         NOT NULL,
  updated_at                 BIGINT         NOT NULL,
  KEY offers_updated (updated_at),
  KEY offers_created (created_at, id),
  CONSTRAINT offers_budget CHECK (budget >= 0 AND budget_target >= 0 AND budget_target <= budget),
  CONSTRAINT offers_allocated CHECK (allocated >= 0),
  CONSTRAINT offers_lease_policy CHECK (lease_size >= 1 AND lease_ttl_seconds BETWEEN 5 AND 3600)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS leases (
  offer_id    VARBINARY(64) NOT NULL,
  id          BINARY(16)    NOT NULL,
  node_id     BINARY(16)    NOT NULL,
  epoch       BIGINT        NOT NULL,
  kind        VARBINARY(16) NOT NULL,
  mode        VARBINARY(16) NOT NULL,
  granted     BIGINT        NOT NULL,
  spent       BIGINT        NOT NULL DEFAULT 0,
  redeemed    BIGINT        NOT NULL DEFAULT 0,
  held        BIGINT        NOT NULL DEFAULT 0,
  refunded    BIGINT        NOT NULL DEFAULT 0,
  forfeited   BIGINT        NOT NULL DEFAULT 0,
  batch       BIGINT        NOT NULL DEFAULT 0,
  ttl_seconds BIGINT        NOT NULL,
  state       VARBINARY(16) NOT NULL,
  granted_at  BIGINT        NOT NULL,
  expires_at  BIGINT        NOT NULL,
  closed_at   BIGINT        NULL,
  PRIMARY KEY (offer_id, id),
  KEY leases_active (offer_id, state),
  KEY leases_expiring (state, expires_at),
  KEY leases_of_node (node_id, state, epoch),
  CONSTRAINT leases_spent CHECK (spent >= 0 AND spent <= granted)
);

-- No foreign key to offers: an insert would lock the hot parent row.
CREATE TABLE IF NOT EXISTS entries (
  offer_id            VARBINARY(64)  NOT NULL,
  id                  BINARY(16)     NOT NULL,
  redemption          BINARY(16)     NOT NULL,
  seq                 BIGINT         NOT NULL,
  kind                VARBINARY(16)  NOT NULL,
  user_id             VARBINARY(128) NOT NULL,
  order_id            VARBINARY(128) NULL,
  idempotency_key     VARBINARY(255) NOT NULL,
  units               BIGINT         NOT NULL,
  lease_id            BINARY(16)     NOT NULL,
  node_id             BINARY(16)     NOT NULL,
  restores_budget     BOOLEAN        NOT NULL,
  restores_user_limit BOOLEAN        NOT NULL,
  late                BOOLEAN        NOT NULL,
  reason              VARCHAR(500)   NULL,
  metadata            TEXT           NULL,
  created_at          BIGINT         NOT NULL,
  PRIMARY KEY (offer_id, id),
  UNIQUE KEY entries_redemption (offer_id, redemption, seq),
  KEY entries_user (offer_id, user_id, id),
  KEY entries_order (offer_id, order_id, id),
  CONSTRAINT entries_units CHECK (units >= 1)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Kept only for offers that limit users.
CREATE TABLE IF NOT EXISTS usages (
  offer_id    VARBINARY(64)  NOT NULL,
  user_id     VARBINARY(128) NOT NULL,
  redemptions BIGINT         NOT NULL,
  units       BIGINT         NOT NULL,
  held_units  BIGINT         NOT NULL DEFAULT 0,
  PRIMARY KEY (offer_id, user_id),
  CONSTRAINT usages_counted CHECK (redemptions >= 0 AND units >= 0 AND held_units >= 0)
);

CREATE TABLE IF NOT EXISTS nodes (
  id         BINARY(16)   NOT NULL PRIMARY KEY,
  name       VARCHAR(200) NOT NULL,
  epoch      BIGINT       NOT NULL,
  started_at BIGINT       NOT NULL,
  seen_at    BIGINT       NOT NULL,
  KEY nodes_seen (seen_at)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE nodes;
DROP TABLE usages;
DROP TABLE entries;
DROP TABLE leases;
DROP TABLE offers;
