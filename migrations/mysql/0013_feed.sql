-- +goose Up

-- DDL commits by itself here, so a process killed half-way through is continued by the next one; see 0002 for how.

-- The entries that one transaction has inserted, until they have positions in the feed. Of each entry: its id, and its seq in two bytes.
CREATE TABLE IF NOT EXISTS feed_unplaced (
  offer_id VARBINARY(64) NOT NULL,
  id       BINARY(16)    NOT NULL,
  entries  BLOB          NOT NULL,
  PRIMARY KEY (offer_id, id)
);

-- The feed: ids of entries. Their positions end with last and have no gap within a row.
CREATE TABLE IF NOT EXISTS feed (
  last     BIGINT        NOT NULL PRIMARY KEY,
  offer_id VARBINARY(64) NOT NULL,
  entries  BLOB          NOT NULL,
  KEY feed_offer (offer_id, last)
);

-- The end of the feed: one row, locked by whoever makes it longer. filled_offer and filled_id are how far the entries of older versions
-- have been looked through, which put none into feed_unplaced.
CREATE TABLE IF NOT EXISTS feed_end (
  place        BIGINT        NOT NULL PRIMARY KEY,
  last         BIGINT        NOT NULL,
  placed_at    BIGINT        NOT NULL,
  filled       BOOLEAN       NOT NULL,
  filled_offer VARBINARY(64) NOT NULL,
  filled_id    BINARY(16)    NOT NULL,
  CONSTRAINT feed_end_alone CHECK (place = 1)
);
INSERT IGNORE INTO feed_end (place, last, placed_at, filled, filled_offer, filled_id) VALUES (1, 0, 0, FALSE, '', x'00000000000000000000000000000000');

-- Whether the transaction that inserted an entry has put it into feed_unplaced, and whether a node's program does so.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE entries ADD COLUMN fed BOOLEAN NOT NULL DEFAULT FALSE')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'entries' AND column_name = 'fed');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE nodes ADD COLUMN feeds BOOLEAN NOT NULL DEFAULT FALSE')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'nodes' AND column_name = 'feeds');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- +goose Down
ALTER TABLE nodes DROP COLUMN feeds;
ALTER TABLE entries DROP COLUMN fed;
DROP TABLE feed_end;
DROP TABLE feed;
DROP TABLE feed_unplaced;
