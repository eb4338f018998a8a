-- Random bytes that sign what this data folder gives out, by what they are for.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
