-- +goose Up

-- The twin of ../mysql.

-- The entries that one transaction has inserted, until they have positions in the feed. Of each entry: its id, and its seq in two bytes.
CREATE TABLE feed_unplaced (
  offer_id TEXT NOT NULL,
  id       BLOB NOT NULL,
  entries  BLOB NOT NULL,
  PRIMARY KEY (offer_id, id)
);

-- The feed: ids of entries. Their positions end with last and have no gap within a row.
CREATE TABLE feed (
  last     INTEGER NOT NULL PRIMARY KEY,
  offer_id TEXT    NOT NULL,
  entries  BLOB    NOT NULL
);
CREATE INDEX feed_offer ON feed (offer_id, last);

-- The end of the feed: one row. filled_offer and filled_id are how far the entries of older versions have been looked through, which put
-- none into feed_unplaced.
CREATE TABLE feed_end (
  place        INTEGER NOT NULL PRIMARY KEY,
  last         INTEGER NOT NULL,
  placed_at    INTEGER NOT NULL,
  filled       BOOLEAN NOT NULL,
  filled_offer TEXT    NOT NULL,
  filled_id    BLOB    NOT NULL,
  CONSTRAINT feed_end_alone CHECK (place = 1)
);
INSERT INTO feed_end (place, last, placed_at, filled, filled_offer, filled_id) VALUES (1, 0, 0, FALSE, '', x'00000000000000000000000000000000');

-- Whether the transaction that inserted an entry has put it into feed_unplaced, and whether a node's program does so.
ALTER TABLE entries ADD COLUMN fed BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE nodes ADD COLUMN feeds BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
ALTER TABLE nodes DROP COLUMN feeds;
ALTER TABLE entries DROP COLUMN fed;
DROP TABLE feed_end;
DROP TABLE feed;
DROP TABLE feed_unplaced;
