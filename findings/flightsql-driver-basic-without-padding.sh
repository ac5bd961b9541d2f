#!/usr/bin/env bash
# Package   adbc-driver-flightsql 1.13.0 with adbc-driver-manager 1.13.0 and pyarrow 26.0.1 (PyPI), Python 3.11.
# Behaviour The driver for Arrow Flight SQL is given a name and a password and sends them as `authorization: Basic ...`,
#           Base64 without the padding that the scheme has (RFC 7617 over RFC 4648, section 4). A service that reads the
#           header with a strict decoder refuses two of three users; those whose text happens to need no padding get in.
# Seen      ab YWI6Yw
#           abc YWJjOmM
#           abcd YWJjZDpj
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install -q --disable-pip-version-check adbc-driver-flightsql==1.13.0 adbc-driver-manager==1.13.0 pyarrow==26.0.1
cat > seen.py <<'PY'
import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.flight as flight

seen = []


class Watch(flight.ServerMiddlewareFactory):
    def start_call(self, info, headers):
        seen.extend(value for name, values in headers.items() if name.lower() == "authorization" for value in values)


class Service(flight.FlightServerBase):
    pass


server = Service("grpc://127.0.0.1:0", middleware={"watch": Watch()})
for user in ("ab", "abc", "abcd"):
    seen.clear()
    settings = {"username": user, "password": "c"}
    try:
        flightsql.connect(f"grpc://127.0.0.1:{server.port}", db_kwargs=settings, autocommit=True).cursor().execute("q")
    except Exception:
        pass  # The service has no answer; what it was asked is what is looked at.
    print(user, seen[0].split(" ", 1)[1])
PY
bin/python seen.py | tee seen.txt
diff seen.txt - <<'SEEN'
ab YWI6Yw
abc YWJjOmM
abcd YWJjZDpj
SEEN
