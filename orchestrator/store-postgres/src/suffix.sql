-- Sagas are found by the last letters of their ids. Those letters are random, so a plain index over them would change
-- another page for every start. The index is therefore ordered by arrival first: every 4,096 sagas make one run, whose few
-- pages stay in memory while it grows, and a search looks once into every run. Sagas from before are one run, number 0.

-- The sagas that are there are indexed by one statement, which may take longer than a commit may.
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = '30s';

CREATE SEQUENCE saga_arrival MINVALUE 4096;
-- First a constant, which no row must be rewritten for.
ALTER TABLE saga ADD COLUMN run bigint NOT NULL DEFAULT 0;
ALTER TABLE saga ALTER COLUMN run SET DEFAULT nextval('saga_arrival') / 4096;
-- Twelve hexadecimal digits from the last one backwards. No update changes them, so updates stay HOT.
CREATE INDEX saga_suffix ON saga (run, left(reverse(id::text), 12) COLLATE "C");
