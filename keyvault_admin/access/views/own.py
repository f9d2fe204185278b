"""What the pages under /account/ share: they are for whoever may use the admin site, as themselves."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.views.generic.base import ContextMixin, View

from keyvault_admin.access.models import User


class OwnPageMixin(ContextMixin, View):
    """Leads everybody else to the sign-in page, and gives templates what the theme needs."""

    title = ""

    def dispatch(self, request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponseBase:  # noqa: ANN401
        if not admin.site.has_permission(request):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        return self.instead() or super().dispatch(request, *arguments, **options)

    def instead(self) -> HttpResponseBase | None:
        """Return what is answered where there is nothing to show; asked only once it is known who asks."""
        return None

    @property
    def person(self) -> User:
        """The person who is signed in; `request.user` is a lazy object around them."""
        return cast("User", self.request.user)

    @property
    def session_key(self) -> str:
        """The key of this session: the one that a change of second factors leaves open."""
        return self.request.session.session_key or ""

    def get_context_data(self, **context: Any) -> dict[str, Any]:  # noqa: ANN401
        return super().get_context_data(**{**admin.site.each_context(self.request), "title": self.title, **context})
