"""Pages of one's own session, behind the same guard as the admin site: a second factor and a role."""

from django.contrib import admin
from django.urls import path, re_path

from keyvault_admin.access import views

guarded = admin.site.admin_view

urlpatterns = [
    path("step-up/", guarded(views.step_up), name="account-step-up"),
    path("sessions/", guarded(views.own_sessions), name="account-sessions"),
    path("sessions/<int:pk>/end/", guarded(views.end_own_session), name="account-session-end"),
    path("sessions/end-others/", guarded(views.end_other_sessions), name="account-sessions-end-others"),
    path("personal-data/", guarded(views.own_data), name="account-personal-data"),
    path("factors/", views.FactorsView.as_view(), name="factors"),
    path("factors/app/new/", views.NewAppView.as_view(), name="factor-app-new"),
    path("factors/app/", views.AddAppView.as_view(), name="factor-app"),
    path("factors/passkey/", views.AddPasskeyView.as_view(), name="factor-passkey"),
    path("factors/passkey/options/", views.PasskeyOptionsView.as_view(), name="factor-passkey-options"),
    path("factors/recovery/", views.RecoveryCodesView.as_view(), name="factor-recovery"),
    path("factors/<slug:kind>/<int:pk>/remove/", views.RemoveFactorView.as_view(), name="factor-remove"),
    path("single-sign-on/", views.LinkView.as_view(), name="single-sign-on"),
    path("passkey/", views.OwnPasskeyChallengeView.as_view(), name="passkey-step-up"),
    re_path(r"^passkey/vote/(?P<digest>[0-9a-f]{64})/$", views.VoteChallengeView.as_view(), name="passkey-vote"),
]
