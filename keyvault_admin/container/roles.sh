#!/bin/bash
# Run once by the postgres image, on an empty volume: the database roles, and their passwords from the secrets.
# A password never stands in an argument, where every process of the machine could read it.
set -euo pipefail

as_superuser() {
    psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" "$@"
}

as_superuser --file="${ROLES_SQL:-/roles.sql}"
as_superuser <<SQL
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
SQL

for login in migrator web worker beat signer command; do
    file=${SECRETS:-/run/secrets}/database_url_$login
    password=$(sed -n "s#^postgres://keyvault_$login:\([^@]*\)@.*#\1#p" "$file")
    case $password in
        '' | *[!0-9A-Za-z_-]*)
            echo "$file must read postgres://keyvault_$login:PASSWORD@HOST:PORT/NAME, its PASSWORD of letters, digits, _ and -." >&2
            exit 1
            ;;
    esac
    as_superuser <<SQL
ALTER ROLE keyvault_$login PASSWORD '$password';
SQL
done
