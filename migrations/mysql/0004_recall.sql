-- +goose Up

-- DDL commits by itself here, so a process killed half-way through is continued by the next one; see 0002 for how.

-- How often leases of an offer were called back, and how often that was when the lease was granted.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE offers ADD COLUMN recall BIGINT NOT NULL DEFAULT 0')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'offers' AND column_name = 'recall');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE leases ADD COLUMN recall BIGINT NOT NULL DEFAULT 0')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'leases' AND column_name = 'recall');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
-- For those that are not over, however many are.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'CREATE INDEX offers_open ON offers (status, ends_at)')
  FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'offers' AND index_name = 'offers_open');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- What admins did. Rows are never changed.
CREATE TABLE IF NOT EXISTS audits (
  offer_id     VARBINARY(64)  NOT NULL,
  id           BINARY(16)     NOT NULL,
  at           BIGINT         NOT NULL,
  actor        VARBINARY(16)  NOT NULL,
  node_id      BINARY(16)     NOT NULL,
  action       VARBINARY(16)  NOT NULL,
  reason       VARCHAR(500)   NULL,
  request_id   VARBINARY(128) NOT NULL,
  terms_before TEXT           NULL,
  terms_after  TEXT           NOT NULL,
  PRIMARY KEY (offer_id, id),
  KEY audits_id (id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE audits;
DROP INDEX offers_open ON offers;
ALTER TABLE leases DROP COLUMN recall;
ALTER TABLE offers DROP COLUMN recall;
