"""Where the pages about rules stand in the admin site."""

from functools import partial
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from audit.admin_base import ReadOnlyAdmin
from inventory.admin.common import page_of
from rotation import rule_views
from rotation.models import ApprovalRule


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(ReadOnlyAdmin):
    """Whoever may see requests may read who decides what; the pages that ask look at the role by themselves."""

    def get_urls(self) -> list[URLPattern]:
        page = partial(page_of, self)
        return [
            path("", page(rule_views.rules_page), name="rotation_approvalrule_changelist"),
            path("rule/<str:code>/", page(rule_views.ask_rule), name="rotation_approvalrule_ask"),
            path("alert/<str:kind>/", page(rule_views.ask_route), name="rotation_alertroute_ask"),
            path("retention/", page(rule_views.ask_retention), name="rotation_retention_ask"),
            path("period/<int:number>/", page(rule_views.ask_drop), name="rotation_period_ask"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return rule_views.rules_page(self, request)

    def has_view_permission(self, request: HttpRequest, obj: ApprovalRule | None = None) -> bool:
        return request.user.has_perm("rotation.view_request")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)
