CREATE TABLE breaker (
    participant text NOT NULL,
    action text NOT NULL,
    open boolean NOT NULL,
    generation bigint NOT NULL,
    open_until bigint,
    since bigint NOT NULL,
    by_whom text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (participant, action)
);
