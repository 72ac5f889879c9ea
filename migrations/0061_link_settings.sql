-- What a practice decides about its links is its admins' to change.
GRANT UPDATE (strict_binding, keyless_start) ON organization TO anteroom_server;
