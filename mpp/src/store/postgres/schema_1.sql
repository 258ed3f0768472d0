-- The store's schema, step 1. Applied once, in the transaction that also records it in mpp_schema.

CREATE TABLE mpp_values (
    tenant  text     NOT NULL COLLATE "C",
    key     text     NOT NULL COLLATE "C",
    quota   smallint NOT NULL,
    version bigint   NOT NULL,
    ends    bigint,            -- seconds since 1970; null: live until removed
    value   bytea    NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE INDEX mpp_values_ends ON mpp_values (tenant, quota, ends) WHERE ends IS NOT NULL;

-- One row per tenant and quota, updated often: room for many versions of it in its page.
CREATE TABLE mpp_quotas (
    tenant text     NOT NULL COLLATE "C",
    quota  smallint NOT NULL,
    used   bigint   NOT NULL,
    PRIMARY KEY (tenant, quota)
) WITH (fillfactor = 10);

-- Versions never repeat, for no key.
CREATE SEQUENCE mpp_versions;

-- Drops at most `most` values that have ended and says how many. Only with the quota's row locked.
CREATE FUNCTION mpp_reclaim(in_tenant text, in_quota smallint, in_now bigint, most integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    gone bigint;
BEGIN
    -- What another transaction works on is skipped: waiting for it could be a deadlock.
    WITH ended AS (
        SELECT v.key FROM mpp_values v
        WHERE v.tenant = in_tenant AND v.quota = in_quota AND v.ends <= in_now
        ORDER BY v.ends LIMIT most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM mpp_values v USING ended WHERE v.tenant = in_tenant AND v.key = ended.key;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- Compare-and-swap of one value. `in_expect` null expects absence, `in_value` null removes.
-- Outcomes: 'written' (version), 'removed', 'conflict' (what is there, if anything), 'full'.
CREATE FUNCTION mpp_swap(
    in_tenant text, in_key text, in_quota smallint, in_expect bigint, in_now bigint, in_ends bigint, in_value bytea,
    in_limit bigint,
    OUT outcome text, OUT out_version bigint, OUT out_value bytea
)
LANGUAGE plpgsql AS $$
DECLARE
    held   mpp_values%ROWTYPE;
    stored boolean;
    held_keys bigint;
BEGIN
    -- An answered payment survives a crash, whatever this database's default is.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- Whoever has lost already need not wait to be told so: what is committed now is a truth of this moment.
    SELECT * INTO held FROM mpp_values v WHERE v.tenant = in_tenant AND v.key = in_key;
    IF FOUND AND (held.ends IS NULL OR held.ends > in_now) AND held.version IS DISTINCT FROM in_expect THEN
        outcome := 'conflict';
        out_version := held.version;
        out_value := held.value;
        RETURN;
    END IF;
    -- Serialises the writers of one key, also while there is no row to lock. The statements after it see what the one
    -- before us has committed (READ COMMITTED).
    PERFORM pg_advisory_xact_lock(hashtextextended(in_tenant || '/' || in_key, 0));
    SELECT * INTO held FROM mpp_values v WHERE v.tenant = in_tenant AND v.key = in_key FOR UPDATE;
    stored := FOUND;
    IF NOT stored OR held.ends <= in_now THEN
        held.version := NULL;
        held.value := NULL;
    END IF;

    IF held.version IS DISTINCT FROM in_expect THEN
        outcome := 'conflict';
        out_version := held.version;
        out_value := held.value;
        RETURN;
    END IF;

    IF in_value IS NULL THEN
        outcome := 'removed';
        IF stored THEN
            DELETE FROM mpp_values v WHERE v.tenant = in_tenant AND v.key = in_key;
            UPDATE mpp_quotas q SET used = q.used - 1 WHERE q.tenant = in_tenant AND q.quota = in_quota;
        END IF;
        RETURN;
    END IF;

    IF stored THEN
        outcome := 'written';
        out_version := nextval('mpp_versions');
        UPDATE mpp_values v SET version = out_version, ends = in_ends, value = in_value
        WHERE v.tenant = in_tenant AND v.key = in_key;
        RETURN;
    END IF;

    INSERT INTO mpp_quotas VALUES (in_tenant, in_quota, 0) ON CONFLICT DO NOTHING;
    -- Locked until the end of the transaction: the limit is exact.
    SELECT q.used INTO held_keys FROM mpp_quotas q WHERE q.tenant = in_tenant AND q.quota = in_quota FOR UPDATE;
    held_keys := held_keys - mpp_reclaim(in_tenant, in_quota, in_now, 4);
    IF held_keys >= in_limit THEN
        held_keys := held_keys - mpp_reclaim(in_tenant, in_quota, in_now, 64);
    END IF;
    IF held_keys >= in_limit THEN
        outcome := 'full';
    ELSE
        outcome := 'written';
        out_version := nextval('mpp_versions');
        held_keys := held_keys + 1;
        INSERT INTO mpp_values VALUES (in_tenant, in_key, in_quota, out_version, in_ends, in_value);
    END IF;
    UPDATE mpp_quotas q SET used = held_keys WHERE q.tenant = in_tenant AND q.quota = in_quota;
END $$;
