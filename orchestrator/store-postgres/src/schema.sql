CREATE TABLE meta (name text PRIMARY KEY, value text NOT NULL);

-- The fence: read under a share lock by every commit, written by claims alone.
CREATE TABLE partition (id int PRIMARY KEY, epoch bigint NOT NULL, owner_token uuid);
-- The lease is a row of its own: share locks of commits would starve its renewal.
CREATE TABLE lease (id int PRIMARY KEY, owner uuid, lease_until timestamptz, address text);

CREATE TABLE progress (id int PRIMARY KEY CHECK (id = 1), commit_no bigint NOT NULL, at bigint NOT NULL)
    WITH (fillfactor = 10);
INSERT INTO progress VALUES (1, 0, 0);

-- No index reads what an update changes, so updates are HOT; who is open stands in a table of its own.
CREATE TABLE saga (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    version bigint NOT NULL,
    hash bytea NOT NULL,
    key text,
    input_hash bytea NOT NULL,
    labels jsonb NOT NULL,
    started_at bigint NOT NULL,
    status smallint NOT NULL,
    incident boolean NOT NULL,
    exceptions boolean NOT NULL,
    ended_at bigint
) WITH (fillfactor = 70);
CREATE TABLE open_saga (id uuid PRIMARY KEY);
CREATE TABLE incident_saga (id uuid PRIMARY KEY);

CREATE TABLE counter (
    name text NOT NULL,
    version bigint NOT NULL,
    status smallint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (name, version, status)
) WITH (fillfactor = 10);

CREATE TABLE start_key (
    name text NOT NULL,
    key text NOT NULL,
    saga_id uuid NOT NULL,
    version bigint NOT NULL,
    input_hash bytea NOT NULL,
    PRIMARY KEY (name, key)
);

CREATE TABLE saga_event (
    saga_id uuid NOT NULL,
    seq bigint NOT NULL,
    commit_no bigint NOT NULL,
    at bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (saga_id, seq)
);

CREATE TABLE definition (
    name text NOT NULL,
    version bigint NOT NULL,
    hash bytea NOT NULL,
    canonical text NOT NULL,
    deployed_at bigint NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE participant (
    name text PRIMARY KEY,
    inbox_id text NOT NULL,
    inbox_kind text NOT NULL,
    actions text NOT NULL,
    last_seen bigint NOT NULL
);

CREATE TABLE audit (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_id uuid NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    verb text NOT NULL,
    step text,
    who text NOT NULL,
    reason text NOT NULL,
    forced boolean NOT NULL
);
CREATE INDEX audit_saga ON audit (saga_id, position);

-- One batch, one statement, one transaction. Answers the partitions that belong to somebody else by now, and writes
-- nothing then. SG001: a start was asked for before. SG002: a row that makes no sense; nothing is written either.
CREATE FUNCTION saga_commit(
    fence_ids int[], fence_epochs bigint[], fence_tokens uuid[],
    the_commit_no bigint, the_at bigint,
    start_ids uuid[], start_names text[], start_versions bigint[], start_hashes bytea[], start_keys text[],
    start_input_hashes bytea[], start_labels text[], start_ats bigint[],
    start_statuses smallint[], start_incidents boolean[], start_exceptions boolean[], start_ended_ats bigint[],
    change_ids uuid[], change_statuses smallint[], change_incidents boolean[], change_exceptions boolean[],
    change_ended_ats bigint[],
    head_ids uuid[], head_seqs bigint[],
    event_ids uuid[], event_seqs bigint[], event_ats bigint[], event_bodies bytea[],
    audit_ids uuid[], audit_seqs bigint[], audit_ats bigint[], audit_verbs text[], audit_steps text[],
    audit_whos text[], audit_reasons text[], audit_forceds boolean[]
) RETURNS int[] LANGUAGE plpgsql AS $body$
DECLARE
    lost int[];
    n bigint;
BEGIN
    -- Locked first and read afterwards: what is read stays true until the commit.
    PERFORM 1 FROM partition WHERE id = ANY (fence_ids) FOR SHARE;
    SELECT array_agg(f.id) INTO lost
        FROM unnest(fence_ids, fence_epochs, fence_tokens) AS f (id, epoch, token)
        LEFT JOIN partition p ON p.id = f.id AND p.epoch = f.epoch AND p.owner_token = f.token
        WHERE p.id IS NULL;
    IF lost IS NOT NULL THEN
        RETURN lost;
    END IF;

    -- A statement costs something even when it finds nothing to do, so what can be seen beforehand is.
    IF cardinality(start_keys) > cardinality(array_positions(start_keys, NULL)) THEN
        INSERT INTO start_key (name, key, saga_id, version, input_hash)
            SELECT s.name, s.key, s.id, s.version, s.input_hash
            FROM unnest(start_names, start_keys, start_ids, start_versions, start_input_hashes)
                AS s (name, key, id, version, input_hash)
            WHERE s.key IS NOT NULL
            ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n < cardinality(start_keys) - cardinality(array_positions(start_keys, NULL)) THEN
            RAISE EXCEPTION 'a key is taken' USING ERRCODE = 'SG001';
        END IF;
    END IF;
    IF cardinality(start_ids) > 0 THEN
        INSERT INTO saga
            (id, name, version, hash, key, input_hash, labels, started_at, status, incident, exceptions, ended_at)
            SELECT s.id, s.name, s.version, s.hash, s.key, s.input_hash, s.labels::jsonb, s.started_at, s.status,
                s.incident, s.exceptions, s.ended_at
            FROM unnest(start_ids, start_names, start_versions, start_hashes, start_keys, start_input_hashes,
                    start_labels, start_ats, start_statuses, start_incidents, start_exceptions, start_ended_ats)
                AS s (id, name, version, hash, key, input_hash, labels, started_at, status, incident, exceptions,
                    ended_at)
            ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n < cardinality(start_ids) THEN
            RAISE EXCEPTION 'an id is taken' USING ERRCODE = 'SG001';
        END IF;
        INSERT INTO open_saga
            SELECT s.id FROM unnest(start_ids, start_statuses) AS s (id, status) WHERE s.status < 10;
        IF true = ANY (start_incidents) THEN
            INSERT INTO incident_saga
                SELECT s.id FROM unnest(start_ids, start_incidents) AS s (id, incident) WHERE s.incident;
        END IF;
    END IF;

    IF cardinality(start_ids) > 0 OR cardinality(change_ids) > 0 THEN
        INSERT INTO counter AS c (name, version, status, n)
            SELECT d.name, d.version, d.status, sum(d.by)
            FROM (
                SELECT s.name, s.version, s.status, 1 AS by
                FROM unnest(start_names, start_versions, start_statuses) AS s (name, version, status)
                UNION ALL
                SELECT s.name, s.version, v.status, v.by
                FROM unnest(change_ids, change_statuses) AS h (id, status)
                JOIN saga s ON s.id = h.id
                CROSS JOIN LATERAL (VALUES (s.status, -1), (h.status, 1)) AS v (status, by)
            ) AS d
            GROUP BY d.name, d.version, d.status
            HAVING sum(d.by) <> 0
            ORDER BY d.name, d.version, d.status
            ON CONFLICT (name, version, status) DO UPDATE SET n = c.n + excluded.n;
    END IF;

    IF cardinality(change_ids) > 0 THEN
        UPDATE saga s
            SET status = c.status, incident = c.incident, exceptions = c.exceptions, ended_at = c.ended_at
            FROM unnest(change_ids, change_statuses, change_incidents, change_exceptions, change_ended_ats)
                AS c (id, status, incident, exceptions, ended_at)
            WHERE s.id = c.id;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n < cardinality(change_ids) THEN
            RAISE EXCEPTION 'a change of an unknown saga' USING ERRCODE = 'SG002', DETAIL =
                (SELECT c.id FROM unnest(change_ids) AS c (id) WHERE NOT EXISTS (SELECT 1 FROM saga s WHERE s.id = c.id)
                 LIMIT 1);
        END IF;
        IF 10 <= ANY (change_statuses) THEN
            DELETE FROM open_saga WHERE id IN
                (SELECT c.id FROM unnest(change_ids, change_statuses) AS c (id, status) WHERE c.status >= 10);
        END IF;
        IF 10 > ANY (change_statuses) THEN
            INSERT INTO open_saga
                SELECT c.id FROM unnest(change_ids, change_statuses) AS c (id, status) WHERE c.status < 10
                ON CONFLICT DO NOTHING;
        END IF;
        DELETE FROM incident_saga WHERE id IN
            (SELECT c.id FROM unnest(change_ids, change_incidents) AS c (id, incident) WHERE NOT c.incident);
        IF true = ANY (change_incidents) THEN
            INSERT INTO incident_saga
                SELECT c.id FROM unnest(change_ids, change_incidents) AS c (id, incident) WHERE c.incident
                ON CONFLICT DO NOTHING;
        END IF;
    END IF;

    IF cardinality(head_ids) > 0 THEN
        SELECT count(*) INTO n
            FROM unnest(head_ids, head_seqs) AS h (id, seq)
            JOIN saga_event e ON e.saga_id = h.id AND e.seq = h.seq;
        IF n < cardinality(head_ids) THEN
            RAISE EXCEPTION 'a journal row does not follow its saga''s last one' USING ERRCODE = 'SG002', DETAIL =
                (SELECT format('%s seq %s', h.id, h.seq + 1) FROM unnest(head_ids, head_seqs) AS h (id, seq)
                 WHERE NOT EXISTS (SELECT 1 FROM saga_event e WHERE e.saga_id = h.id AND e.seq = h.seq) LIMIT 1);
        END IF;
    END IF;
    INSERT INTO saga_event (saga_id, seq, commit_no, at, body)
        SELECT e.id, e.seq, the_commit_no, e.at, e.body
        FROM unnest(event_ids, event_seqs, event_ats, event_bodies) AS e (id, seq, at, body);
    IF cardinality(audit_ids) > 0 THEN
        INSERT INTO audit (saga_id, seq, at, verb, step, who, reason, forced)
            SELECT * FROM unnest(audit_ids, audit_seqs, audit_ats, audit_verbs, audit_steps, audit_whos, audit_reasons,
                audit_forceds);
    END IF;
    UPDATE progress SET commit_no = greatest(commit_no, the_commit_no), at = greatest(at, the_at);
    RETURN '{}';
END
$body$;
