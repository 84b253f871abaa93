package precedent.interop;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.URI;
import java.text.ParseException;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/**
 * Lets a request through that brings an access token of one issuer, for this server, with the scope
 * for what it does: {@code system/<type>.rs} to read, {@code system/*.cruds} for everything.
 */
final class TokenCheck implements Filter {
    private static final String BEARER = "Bearer ";
    private static final String CONFIGURATION = "/.well-known/smart-configuration";
    private static final String CONFIGURATION_TEXT = """
            {"issuer": "%s", "token_endpoint": "%s/token", "jwks_uri": "%s/certs",
             "grant_types_supported": ["client_credentials"],
             "token_endpoint_auth_methods_supported": ["private_key_jwt"],
             "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
             "scopes_supported": ["system/*.rs"],
             "capabilities": ["client-confidential-asymmetric", "permission-v2"]}
            """;
    private final DefaultJWTProcessor<SecurityContext> tokens = new DefaultJWTProcessor<>();
    private final String configuration;

    TokenCheck(String issuer, String audience) throws IOException {
        var realm = issuer + "/protocol/openid-connect";
        configuration = CONFIGURATION_TEXT.formatted(issuer, realm, realm);
        var keys = URI.create(realm + "/certs").toURL();
        var source = JWKSourceBuilder.create(keys).retrying(true).build();
        tokens.setJWSKeySelector(new JWSVerificationKeySelector<>(
                Set.of(JWSAlgorithm.RS256, JWSAlgorithm.ES384), source));
        var expected = new JWTClaimsSet.Builder().issuer(issuer).build();
        tokens.setJWTClaimsSetVerifier(
                new DefaultJWTClaimsVerifier<>(audience, expected, Set.of("exp", "iat", "scope")));
    }

    @Override
    public void doFilter(ServletRequest request, ServletResponse response, FilterChain next)
            throws IOException, ServletException {
        var asked = (HttpServletRequest) request;
        var answer = (HttpServletResponse) response;
        var header = asked.getHeader("Authorization");
        if (asked.getRequestURI().endsWith(CONFIGURATION)) {
            answer.setContentType("application/json");
            answer.getWriter().write(configuration);
        } else if (asked.getRequestURI().endsWith("/metadata")) {
            next.doFilter(request, response); // the capability statement is open, as SMART asks
        } else if (header == null || !header.startsWith(BEARER)) {
            refuse(answer, 401, "login", "No access token came with the request.");
        } else {
            try {
                var claims = tokens.process(header.substring(BEARER.length()), null);
                if (permits(claims.getStringClaim("scope"), asked)) {
                    next.doFilter(request, response);
                } else {
                    refuse(answer, 403, "forbidden", "The scope does not cover this request.");
                }
            } catch (ParseException | BadJOSEException | JOSEException problem) {
                refuse(answer, 401, "login", "The access token is not valid here.");
            }
        }
    }

    private static boolean permits(String scope, HttpServletRequest asked) {
        var granted = List.of(scope.split(" "));
        if (granted.contains("system/*.cruds")) {
            return true;
        }
        var type = Arrays.stream(asked.getRequestURI().split("/")).skip(2).findFirst().orElse("");
        return asked.getMethod().equals("GET")
                && (granted.contains("system/*.rs") || granted.contains("system/" + type + ".rs"));
    }

    private static void refuse(HttpServletResponse answer, int status, String code, String text)
            throws IOException {
        answer.setStatus(status);
        answer.setContentType("application/fhir+json");
        if (status == 401) {
            answer.setHeader("WWW-Authenticate", "Bearer");
        }
        answer.getWriter().write("{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":"
                + "\"error\",\"code\":\"" + code + "\",\"diagnostics\":\"" + text + "\"}]}");
    }
}
