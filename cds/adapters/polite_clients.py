"""HTTP clients whose requests to a PACS pass its gate, for whoever asks it outside an import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cds.adapters.egress import DEFAULT_MAX_BYTES, EgressClient, EgressClients, EgressResponse
from cds.adapters.egress_policy import origin_of
from cds.adapters.egress_session import BoundCredential
from cds.adapters.pacs_gate import Meter, PacsGate, PacsGates, Work
from cds.domain.registration import EhrRegistration
from cds.ports import Deadline


class PoliteClient(EgressClient):
    """An `EgressClient` that asks the default PACS as prompt work, under the PACS's policy.

    It waits for its turn within the caller's deadline, and is refused at once while the circuit
    breaker is open or the PACS has asked to be left alone. Other servers are asked as ever; so are
    sessions, which libraries hold.

    Parameters
    ----------
    registration
        Says which server is the PACS.
    gate
        Of this PACS.
    development, ca_file
        As for `EgressClient`.

    """

    def __init__(
        self,
        registration: EhrRegistration,
        gate: PacsGate,
        *,
        development: bool = False,
        ca_file: Path | None = None,
    ) -> None:
        super().__init__(registration, development=development, ca_file=ca_file)
        self._gate = gate
        root = registration.default_pacs_url
        self._pacs_root = root.rstrip("/") + "/" if root else None
        self._pacs = origin_of(root) if root else None

    def get(
        self,
        url: str,
        *,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        credential: BoundCredential | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        peer_name: str | None = None,
    ) -> EgressResponse:
        """Fetch `url` (see `EgressClient.get`).

        Raises
        ------
        CdsError
            As `EgressClient.get` and `PacsGate.ask`.

        """

        def request(meter: Meter) -> EgressResponse:
            response = super(PoliteClient, self).get(
                url,
                deadline=deadline,
                headers=headers,
                credential=credential,
                max_bytes=max_bytes,
                peer_name=peer_name,
            )
            meter(len(response.body))
            return response

        if self._is_of_pacs(url):
            return self._gate.ask(request, work=Work.PROMPT)
        return request(lambda _n_bytes: None)

    def _is_of_pacs(self, url: str) -> bool:
        """Tell whether a URL lies below the PACS's root: the EHR may serve from the same origin."""
        root = self._pacs_root
        return root is not None and origin_of(url) == self._pacs and url.startswith(root)


class PoliteClients(EgressClients):
    """`EgressClients` whose clients are polite to the PACS.

    Parameters
    ----------
    gates
        Shared with whoever else asks these PACS in this process.
    development, ca_file
        As for `EgressClients`.

    """

    def __init__(
        self, gates: PacsGates, *, development: bool = False, ca_file: Path | None = None
    ) -> None:
        super().__init__(development=development, ca_file=ca_file)
        self._gates = gates

    @classmethod
    def like(cls, clients: EgressClients, gates: PacsGates) -> PoliteClients:
        """Return polite clients under the same rules as others."""
        return cls(gates, development=clients.development, ca_file=clients.ca_file)

    def opened(self, registration: EhrRegistration) -> EgressClient:
        """Return a new client of a registration."""
        return PoliteClient(
            registration,
            self._gates(registration),
            development=self.development,
            ca_file=self.ca_file,
        )
