"""An HTTP proxy between us and a destination: its address, and what it wants to know of us."""

from auditsink import config
from auditsink.delivery.settings import basic, checked_url


class ProxyRoute:
    """The settings of one destination; the password may change while it runs."""

    def __init__(self, section: config.Proxy, where: str) -> None:
        """`where` is the path of the section (`destinations[siem].proxy`). Raises DestinationError."""
        self.url = checked_url(f"{where}.url", section.url)
        self._basic = basic(section, where)

    def headers(self) -> dict[str, str]:
        """What goes to the proxy and nowhere else."""
        return {} if self._basic is None else {"Proxy-Authorization": self._basic()}
