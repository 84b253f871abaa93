"""`precedent demo`: a synthetic hospital with its EHR, its PACS and Precedent, on this machine."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
import webbrowser
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from cds.adapters.storage import open_storage
from cds.cli.demo_check import check_the_way
from cds.cli.demo_hospital import (
    EHR_HOST,
    DemoPlaces,
    demo_registration,
    record_number_systems,
    shared_secrets,
)
from cds.cli.demo_processes import Children, children, refuse_taken_port, run_to_end
from cds.cli.demo_state import begin, fingerprint, fresh_copy, is_complete, mark_complete
from cds.settings import Settings

N_WORKERS = 2
ROOT = Path(__file__).parents[2]
GUNICORN_SETTINGS = ROOT / "deploy" / "gunicorn.conf.py"
READY_PATIENCE_S = 60.0
WATCH_S = 0.5
DEFAULT_SEED = 20250101
SYNTHETIC_LIBRARY = "St. Brevis (synthetic)"
_PRODUCT = (sys.executable, "-c", "import sys; from cds.cli.main import main; sys.exit(main())")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo", help="start a synthetic hospital to walk through", description=__doc__
    )
    parser.add_argument("--port", type=int, default=8100, help="port of the EHR")
    parser.add_argument("--app-port", type=int, default=8000, help="port of Precedent")
    parser.add_argument("--state", type=Path, default=Path(".state/demo"), metavar="DIR")
    parser.add_argument("--library", type=Path, metavar="DIR", help="real cases instead")
    parser.add_argument(
        "--queries", type=Path, metavar="DIR", help="pictures that become patients of their own"
    )
    parser.add_argument("--cases", type=int, help="size of the synthetic library")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--once-ready-exit", action="store_true", help="stop when all is ready")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Set the hospital up, start it, and wait until interrupted.

    Raises
    ------
    CdsError
        INVALID_CONFIGURATION if a port is in use; UPSTREAM_FAILED if a step or a server fails.

    """
    console = Console()
    signal.signal(signal.SIGTERM, _interrupt)
    refuse_taken_port(arguments.port, "--port")
    refuse_taken_port(arguments.app_port, "--app-port")
    started = time.monotonic()
    demo = _Demo(arguments, console)
    demo.prepare()
    with children(arguments.state / "logs") as servers:
        demo.serve(servers)
        console.print(f"Ready after {time.monotonic() - started:.0f} s.")
        demo.tell()
        if arguments.once_ready_exit:
            return 0
        try:
            while True:
                servers.refuse_death()
                time.sleep(WATCH_S)
        except KeyboardInterrupt:
            console.print("\nStopping.")
    return 0


class _Demo:
    """The steps of one demo, each said before it is done."""

    def __init__(self, arguments: argparse.Namespace, console: Console) -> None:
        self._arguments = arguments
        self._console = console
        self._places = DemoPlaces(ehr_port=arguments.port, app_port=arguments.app_port)
        self._state: Path = arguments.state.resolve()
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = arguments.cases or "all"
        self._generated: Path = self._state / f"generated-{arguments.seed}-{size}"
        source = str(arguments.library.resolve()) if arguments.library else str(self._generated)
        self._imported: Path = self._state / f"library-{sha256(source.encode()).hexdigest()[:8]}"
        self._settings = Settings(
            state_dir=self._state / "running",
            public_url=self._places.app_url,
            development=True,
            library_name=arguments.library.name if arguments.library else SYNTHETIC_LIBRARY,
        )

    @property
    def _tryout(self) -> Path:
        return self._generated / "tryout"

    def _environment(self, state_dir: Path) -> dict[str, str]:
        return {
            "PRECEDENT_STATE_DIR": str(state_dir),
            "PRECEDENT_PUBLIC_URL": self._settings.public_url,
            "PRECEDENT_DEVELOPMENT": "true",
            "PRECEDENT_LIBRARY_NAME": self._settings.library_name,
            "OMP_NUM_THREADS": "1",
        }

    def prepare(self) -> None:
        """Generate the hospital, import the library, register the EHR."""
        self._generate()
        if self._arguments.queries:
            self._say("Making patients of the pictures.")
            source = str(self._arguments.queries.resolve())
            command = ["-m", "sandbox.pictures", "--pictures", source, "--out", str(self._tryout)]
            run_to_end([sys.executable, *command], {}, what="make patients of the pictures")
        self._import_library()
        fresh_copy(self._imported, self._settings.state_dir)
        self._register()

    def _generate(self) -> None:
        """Write the library once, the try-out patients at each start: their films are of today."""
        made_by = fingerprint((ROOT / "sandbox" / "generator", ROOT / "sandbox" / "parameters"))
        command = [sys.executable, "-m", "sandbox.generator", "--seed", str(self._arguments.seed)]
        command += ["--out", str(self._generated), "--now", datetime.now().astimezone().isoformat()]
        wants_library = not (self._arguments.library or is_complete(self._generated, made_by))
        if wants_library:
            self._say("Generating the synthetic hospital; the first time takes a minute or two.")
            begin(self._generated)
            if self._arguments.cases:
                command += ["--cases", str(self._arguments.cases)]
        else:
            self._say("Generating the try-out patients.")
            command += ["--only", "tryout"]
            shutil.rmtree(self._tryout, ignore_errors=True)
        run_to_end(command, {}, what="generate the synthetic hospital")
        if wants_library:
            mark_complete(self._generated, made_by)

    def _import_library(self) -> None:
        """Import the library once, and again when the code that reads or embeds it has changed."""
        made_by = fingerprint(
            ROOT / name
            for name in ("cds/adapters", "cds/domain", "cds/library", "models", "sandbox/generator")
        )
        if is_complete(self._imported, made_by):
            self._say("The case library is there already.")
            return
        self._say("Importing the case library.")
        begin(self._imported)
        environment = self._environment(self._imported)
        run_to_end([*_PRODUCT, "init"], environment, what="make the database")
        if self._arguments.library:
            source = [str(self._arguments.library.resolve())]
        else:
            folder = self._generated / "library"
            source = ["--table", str(folder / "cases.csv"), "--columns", str(folder / "map.toml")]
        command = [*_PRODUCT, "library", "import", *source]
        run_to_end(command, environment, what="import the case library")
        mark_complete(self._imported, made_by)

    def _register(self) -> None:
        shared = shared_secrets(self._state / "secrets.json")
        systems = record_number_systems(self._tryout / "fhir")
        storage = open_storage(self._settings)
        registration = demo_registration(self._places, shared, systems)
        storage.registrations.save(registration)
        storage.backend_keys.ensure(registration.ehr_id, registration.backend_algorithm)
        storage.engine.dispose()

    def serve(self, servers: Children) -> None:
        """Start both servers and wait until they answer."""
        self._say("Starting the EHR and Precedent.")
        sandbox = ["-m", "sandbox", "--port", str(self._places.ehr_port)]
        sandbox += ["--data", str(self._tryout), "--app-url", self._places.app_url]
        sandbox += ["--secrets", str(self._state / "secrets.json")]
        servers.start("EHR", [sys.executable, *sandbox], {})
        gunicorn = ["-m", "gunicorn", "--bind", f"127.0.0.1:{self._places.app_port}", "--preload"]
        gunicorn += ["--workers", str(N_WORKERS), "--worker-class", "gthread", "--threads", "8"]
        gunicorn += ["--no-control-socket"]
        if GUNICORN_SETTINGS.is_file():  # in a clone; it also makes each worker ready at its start
            gunicorn += ["--config", str(GUNICORN_SETTINGS)]
        servers.start(
            "Precedent",
            [sys.executable, *gunicorn, "smart_app.wsgi:app"],
            self._environment(self._settings.state_dir),
            stop_signal=signal.SIGINT,  # gunicorn's quick end; SIGTERM waits for idle connections
        )
        servers.wait_until_answers(
            self._places.ehr_port, "/ehr/sign-in", patience_s=READY_PATIENCE_S
        )
        servers.wait_until_answers(
            self._places.app_port, "/health/ready", patience_s=READY_PATIENCE_S
        )
        check_the_way(EHR_HOST, self._places.ehr_port)

    def tell(self) -> None:
        """Say where to go and what to try."""
        self._console.print(
            f"\n  Open  {self._places.ehr_url}/\n"
            "  Sign in as  dr.okafor  with password  sandbox\n\n"
            "  Try this\n"
            "    P4   open the chart, read the card, open the similar cases beside it\n"
            "    P10  the film is an abdomen: not assessed, and why\n"
            "    P11  the picture names another patient: no comparison\n"
            "    P12  a final report exists: silence\n"
            "    Then the Reports tab, for what Precedent has filed; and Outages.\n\n"
            f"  {self._who()} Ctrl-C stops everything.\n",
            highlight=False,
        )
        if not (self._arguments.no_browser or self._arguments.once_ready_exit):
            webbrowser.open(f"{self._places.ehr_url}/")

    def _who(self) -> str:
        if self._arguments.library or self._arguments.queries:
            return "The identities are invented; the pictures you gave stay on this machine."
        return "Every patient is synthetic."

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
