/* What `edgeproxy db init` and the last-good file write. It differs from the seed documents in one
 * word, NOT NULL on the key, without which a replicated database refuses the table; the comments
 * inside are for whoever types .schema in sqlite3. The reader does not use it: it takes what it
 * finds (control/columns.def). */
#include "control/schema.h"

const char schema_sql[] =
	"CREATE TABLE backends (\n"
	"    id TEXT PRIMARY KEY NOT NULL,  -- \"sa-node-1\"\n"
	"    app TEXT,                      -- \"myapp\"\n"
	"    region TEXT,                   -- \"sa\", \"us\", \"eu\"\n"
	"    wg_ip TEXT,                    -- WireGuard IP\n"
	"    port INTEGER,                  -- Backend port\n"
	"    healthy INTEGER,               -- 0 or 1\n"
	"    weight INTEGER,                -- Load balancing weight\n"
	"    soft_limit INTEGER,            -- Comfortable connection count\n"
	"    hard_limit INTEGER,            -- Maximum connections\n"
	"    deleted INTEGER DEFAULT 0\n"
	");\n"
	"CREATE TABLE services (\n"
	"    listen TEXT PRIMARY KEY NOT NULL,  -- \"0.0.0.0:5432\", \"[2001:db8::1]:443\"\n"
	"    app TEXT,                          -- NULL: every app\n"
	"    accept_proxy INTEGER,              -- 0: never read a PROXY header\n"
	"    send_proxy INTEGER                 -- version to write to backends: 0, 1 or 2\n"
	");\n"
	"CREATE TABLE geo_overrides (\n"
	"    cidr TEXT PRIMARY KEY NOT NULL,  -- \"192.0.2.0/24\"\n"
	"    country TEXT,                    -- \"BR\"; NULL: none\n"
	"    region TEXT                      -- NULL: the country's\n"
	");\n"
	"CREATE TABLE country_regions (\n"
	"    country TEXT PRIMARY KEY NOT NULL,  -- \"MX\"\n"
	"    region TEXT                         -- \"sa\"\n"
	");\n"
	"CREATE TABLE access_rules (\n"
	"    id TEXT PRIMARY KEY NOT NULL,  -- \"no-scanners\"\n"
	"    app TEXT,                      -- \"*\": every app\n"
	"    cidr TEXT,                     -- \"192.0.2.0/24\"; or\n"
	"    country TEXT,                  -- \"BR\"; \"*\": everybody else\n"
	"    action TEXT                    -- \"allow\", \"deny\"\n"
	");\n";

const char schema_optional_sql[] =
	"ALTER TABLE backends ADD COLUMN country TEXT;\n"
	"ALTER TABLE backends ADD COLUMN state TEXT; -- ready, drain, maint\n"
	"ALTER TABLE backends ADD COLUMN congestion TEXT; -- \"bbr\"\n"
	"ALTER TABLE services ADD COLUMN congestion TEXT;\n";
