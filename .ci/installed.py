"""Ask an installed almeta, from a folder that is not the checkout, whether all of it arrived."""

import importlib.metadata
import importlib.util
import pathlib
import sys

checkout = pathlib.Path(sys.argv[1]).resolve()

import almeta  # noqa: E402
import almeta.agents  # noqa: E402
import almeta.envs  # noqa: E402
from almeta.policies import load_policy, policy_names  # noqa: E402

home = pathlib.Path(almeta.__file__).resolve().parent
assert checkout not in home.parents, f"this is the checkout's almeta, not the installed one: {home}"
assert almeta.__version__ == importlib.metadata.version("almeta")

for name in ("envs", "agents", "conf", "scripts", "tests"):
    assert importlib.util.find_spec(name) is None, f"the wheel put {name} at the top of site-packages"
tops = {path.parts[0] for path in importlib.metadata.files("almeta") or []} - {"..", "almeta"}
assert all(top.endswith(".dist-info") for top in tops), f"the wheel brings more than almeta: {tops}"

wanted = {path.relative_to(checkout / "conf") for path in (checkout / "conf").rglob("*.yaml")}
found = {path.relative_to(home / "conf") for path in (home / "conf").rglob("*.yaml")}
assert wanted and wanted == found, f"missing from the wheel: {sorted(map(str, wanted - found))}"
assert (home / "py.typed").is_file()

shipped = sorted(
    path for path in (checkout / "almeta" / "policies").glob("*/*") if path.suffix in (".json", ".safetensors")
)
for path in shipped:
    copy = home / path.relative_to(checkout / "almeta")
    assert copy.is_file() and copy.read_bytes() == path.read_bytes(), f"missing from the wheel, or another: {path}"
assert policy_names() == sorted({path.parent.name for path in shipped if path.suffix == ".json"})
for name in policy_names():
    load_policy(name)
print(f"almeta {almeta.__version__} is installed whole: {len(found)} YAML files, {len(shipped)} files of policies")
